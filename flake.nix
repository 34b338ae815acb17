{
  description = "Attune universal worker: one static agent that turns any container into a worker";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane/v0.23.4";
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
      rust-overlay,
    }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];

      project = lib.genAttrs systems (
        system:
        let
          scope = {
            inherit crane lib self;
            pkgs = import nixpkgs {
              inherit system;
              overlays = [ rust-overlay.overlays.default ];
            };
            # that architecture's own, from the public cache: it is copied and never run
            busybox = arch: nixpkgs.legacyPackages."${arch}-linux".pkgsStatic.busybox;

            craneLib = use ./nix/toolchain.nix;
            release = use ./nix/release.nix;
            sources = use ./nix/sources.nix;
            targets = use ./nix/targets.nix;
            interpreters = use ./nix/interpreters.nix;
            static = use ./nix/static.nix;
            images = use ./nix/images.nix;
          };
          # Every file is a function, and the names of its arguments say what it needs of the scope.
          use = file: import file (builtins.intersectAttrs (builtins.functionArgs (import file)) scope);
        in
        {
          packages = scope.static.packages // scope.images.packages;
          apps = use ./nix/apps.nix;
          checks = use ./nix/checks.nix;
          devShells.default = use ./nix/shell.nix;
          formatter = scope.pkgs.nixfmt-tree;
        }
      );
      each = output: lib.mapAttrs (_: outputs: outputs.${output}) project;
    in
    {
      packages = each "packages";
      apps = each "apps";
      checks = each "checks";
      devShells = each "devShells";
      formatter = each "formatter";

      overlays.default = import ./nix/overlay.nix { inherit self; };
      nixosModules.attune-worker = import ./nix/module.nix { inherit self; };
    };
}
