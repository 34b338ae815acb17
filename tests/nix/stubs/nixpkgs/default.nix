# The part of nixpkgs that the flake uses, with derivations that cannot be built but carry their arguments.
# What is not here fails to evaluate: every name was looked up in nixpkgs before it was put in.
{
  system,
  overlays ? [ ],
}:
let
  lib = import ./lib.nix;
  platform = {
    inherit system;
    parsed.cpu.name = builtins.head (builtins.match "([^-]+)-.*" system);
    isLinux = true;
  };

  # like mkDerivation: meta and passthru are attributes of the result, and never its environment
  make =
    name: arguments:
    # nixpkgs compares with the machine that builds, also for a foreign program
    assert builtins.elem system (arguments.meta.platforms or [ system ]);
    derivation (
      {
        inherit system name;
        builder = "/bin/sh";
        args = [
          "-c"
          "echo 'a stub cannot be built' >&2; exit 1"
        ];
      }
      // removeAttrs arguments [
        "meta"
        "passthru"
      ]
    )
    // {
      meta = arguments.meta or { };
    }
    // arguments.passthru or { };
  package = name: make name { };

  set = prefix: {
    stdenv = {
      cc = package "${prefix}gcc-wrapper" // {
        targetPrefix = prefix;
      };
      buildPlatform = platform;
      hostPlatform = platform;
    };
    busybox = package "${prefix}busybox";
  };

  base =
    _:
    set ""
    // {
      inherit lib;
      pkgsStatic = set "${platform.parsed.cpu.name}-unknown-linux-musl-";
      pkgsCross = {
        musl64 = set "x86_64-unknown-linux-musl-";
        aarch64-multiplatform-musl = set "aarch64-unknown-linux-musl-";
      };
      runtimeShell = "${package "bash"}/bin/bash";
      mkDerivation = make;
      runCommand =
        name: environment: text:
        make name (environment // { inherit text; });
      writeText = name: text: make name { inherit text; };
      writeShellApplication =
        {
          name,
          text,
          runtimeInputs ? [ ],
        }:
        make name {
          inherit text runtimeInputs;
          meta.mainProgram = name;
        };
      closureInfo = { rootPaths }: make "closure-info" { inherit rootPaths; };
      dockerTools.buildImage =
        {
          name,
          tag,
          architecture,
          created,
          config,
          copyToRoot,
          extraCommands ? "",
        }:
        # "now" would make every build different
        assert builtins.match "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z" created != null;
        make "docker-image-${name}.tar.gz" {
          inherit copyToRoot extraCommands;
          image = builtins.toJSON {
            inherit
              name
              tag
              architecture
              created
              config
              extraCommands
              ;
          };
        };
      mkShell =
        arguments:
        make "nix-shell" (
          removeAttrs arguments [
            "inputsFrom"
            "packages"
          ]
          // {
            nativeBuildInputs = arguments.packages or [ ];
          }
        );
    }
    // lib.genAttrs [
      "R"
      "bash"
      "bubblewrap"
      "cargo-auditable"
      "cargo-cyclonedx"
      "cargo-deny"
      "cargo-insta"
      "cargo-nextest"
      "check-jsonschema"
      "conmon"
      "dash"
      "deadnix"
      "gnumake"
      "go"
      "jdk_headless"
      "jq"
      "mmdebstrap"
      "nixfmt"
      "nixfmt-tree"
      "nodejs"
      "openssl"
      "perl"
      "podman"
      "postgresql"
      "proot"
      "pypy3"
      "python3"
      "qemu"
      "rabbitmq-server"
      "removeReferencesTo"
      "ruby"
      "runc"
      "shellcheck"
      "skopeo"
      "uv"
    ] package
    // {
      perlPackages.Appcpanminus = package "Appcpanminus";
    };

  fix =
    f:
    let
      self = f self;
    in
    self;
  extend =
    previous: overlay: final:
    previous final // overlay final (previous final);
in
fix (builtins.foldl' extend base overlays)
