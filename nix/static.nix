# The static programs, for both architectures from either one, and the bills of their materials.
{
  pkgs,
  craneLib,
  release,
  sources,
  targets,
}:
let
  inherit (pkgs) lib;

  programs = {
    agent = {
      package = "attune-worker";
      program = "attune-agent";
      description = "Turns any container or host into an Attune worker";
    };
    worker = {
      package = "attune-worker";
      program = "attune-worker";
      description = "Attune worker for hosts whose runtimes are configured by hand";
    };
    api = {
      package = "attune-api";
      program = "attune-api";
      description = "Attune control plane: HTTP API over the store";
    };
    attune = {
      package = "attune";
      program = "attune";
      description = "Run actions, read logs, manage packs; 'attune dev' is all of it on one machine";
    };
  };

  common =
    target:
    {
      src = sources.build;
      inherit (release) version;
      strictDeps = true;
      doCheck = false;
      # also where dependencies are built, so that both see the same environment
      nativeBuildInputs = [ pkgs.cargo-auditable ];
      CARGO_PROFILE = "dist";
    }
    // target.environment;

  # One per cargo package and not one for all: features would unify, and the agent grow.
  dependencies =
    target: package:
    craneLib.buildDepsOnly (
      common target
      // {
        pname = "${package}-${target.arch}";
        cargoExtraArgs = "--locked --package ${package}";
        # nothing but the build below uses these, so there is nothing to check for
        cargoCheckCommand = ":";
      }
    );

  build =
    {
      package,
      program,
      description,
    }:
    target:
    craneLib.buildPackage (
      common target
      // {
        pname = program;
        cargoArtifacts = dependencies target package;
        cargoBuildCommand = "cargo auditable build --profile dist";
        cargoExtraArgs = "--locked --package ${package} --bin ${program}";
        doInstallCargoArtifacts = false;
        # the profile strips; a native strip may not know a foreign program
        dontStrip = true;
        # the proof that the program needs nothing of the store
        allowedReferences = [ ];
        meta = {
          inherit description;
          homepage = release.source;
          license = lib.licenses.asl20;
          mainProgram = program;
          # of the machine that builds: nixpkgs takes both for the same
          platforms = lib.platforms.linux;
        };
      }
    );

  # «program».cdx.json for every program: CycloneDX 1.5, without date or serial number of the run
  sbom =
    target:
    craneLib.mkCargoDerivation (
      common target
      // {
        pname = "attune-sbom-${target.arch}";
        cargoArtifacts = null;
        doInstallCargoArtifacts = false;
        nativeBuildInputs = [ pkgs.cargo-cyclonedx ];
        SOURCE_DATE_EPOCH = release.epoch;
        buildPhaseCargoCommand = ''
          cargo cyclonedx --format json --spec-version 1.5 --describe binaries \
            --no-build-deps --target ${target.triple}
        '';
        installPhaseCommand = lib.concatStrings (
          lib.mapAttrsToList (_: p: ''
            install -D -m 0444 crates/*/${p.program}_bin.cdx.json $out/${p.program}.cdx.json
          '') programs
        );
      }
    );

  makers = lib.mapAttrs (_: build) programs;
  packages = targets.named (makers // { inherit sbom; });
in
{
  packages = packages // {
    default = packages.agent;
  };
  byArch = lib.mapAttrs (
    arch: _: lib.mapAttrs (name: _: packages."${name}-${arch}") programs
  ) targets.all;
}
