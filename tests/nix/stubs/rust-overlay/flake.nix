{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs";
  outputs = _: {
    overlays.default = final: _: {
      rust-bin.fromRustupToolchainFile =
        file:
        let
          inherit (fromTOML (builtins.readFile file)) toolchain;
        in
        # a release by number: "stable" would change with the lock file
        assert builtins.match "[0-9]+\\.[0-9]+\\.[0-9]+" toolchain.channel != null;
        final.mkDerivation "rust-${toolchain.channel}" { inherit (toolchain) targets components profile; };
    };
  };
}
