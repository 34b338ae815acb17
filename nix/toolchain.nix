# crane with exactly the compiler that rust-toolchain.toml names.
{ crane, pkgs }:
(crane.mkLib pkgs).overrideToolchain (p: p.rust-bin.fromRustupToolchainFile ./rust-toolchain.toml)
