# `nix flake check`: what CI runs, and what only a machine with Nix can find out.
{
  pkgs,
  craneLib,
  release,
  sources,
  targets,
  interpreters,
  static,
  images,
}:
let
  inherit (pkgs) lib;

  plain = {
    src = sources.test;
    inherit (release) version;
    pname = "attune";
    strictDeps = true;
  };
  common = plain // {
    cargoExtraArgs = "--locked --workspace";
    # one set of dependencies for lints, tests and documentation
    CARGO_PROFILE = "dev";
  };
  cargoArtifacts = craneLib.buildDepsOnly common;
  cargo = common // {
    inherit cargoArtifacts;
    doInstallCargoArtifacts = false;
  };

  check =
    name: inputs: text:
    pkgs.runCommand "attune-check-${name}" { nativeBuildInputs = inputs; } "${text}\ntouch $out\n";
  forArchitectures = f: lib.concatMapAttrs (arch: target: f arch target) targets.all;

  # The line that nix/image-listing.sh prints for an entry of nix/image-contents.nix.
  listed =
    path: entry:
    if entry ? link then
      "l - ${path} ${entry.link}"
    else if entry ? directory then
      "d ${lib.removePrefix "0" entry.directory} ${path}"
    else
      "f 555 ${path}";
  listing =
    image: pkgs.writeText "listing" (lib.concatLines (lib.mapAttrsToList listed image.contents));
  configuration =
    image: target:
    pkgs.writeText "configuration.json" (
      builtins.toJSON {
        architecture = target.oci;
        inherit (release) created;
        inherit (image) config;
      }
    );

  # No interpreter, no libraries, and a closure that is nothing but the programs themselves.
  isStatic =
    programs:
    let
      paths = lib.attrValues programs;
    in
    lib.concatMapStrings (program: ''
      readelf --wide --program-headers --dynamic ${lib.getExe program} >headers
      if grep -E 'INTERP|NEEDED' headers; then
        echo "${program.pname} is not static" >&2
        exit 1
      fi
    '') paths
    + ''
      printf '%s\n' ${toString paths} | sort >programs
      sort ${pkgs.closureInfo { rootPaths = paths; }}/store-paths | diff programs -
    '';
in
{
  fmt = craneLib.cargoFmt (plain // { cargoExtraArgs = "--all"; });
  clippy = craneLib.cargoClippy (cargo // { cargoClippyExtraArgs = "--all-targets -- -D warnings"; });
  docs = craneLib.cargoDoc (cargo // { RUSTDOCFLAGS = "-D warnings"; });
  deny = craneLib.cargoDeny plain;
  tests = craneLib.cargoNextest (
    cargo
    // {
      nativeBuildInputs = interpreters ++ [
        pkgs.postgresql
        pkgs.rabbitmq-server
      ];
      INSTA_UPDATE = "no";
      # these need mounts, containers and Debian's archive, which a build may not have (the checks below are their counterparts), or the
      # network, from which the S3 server comes
      cargoNextestExtraArgs = "-E 'not (binary(injection) or binary(install) or binary(static_binary) or binary(virtual_machine) or test(no_interpreter) or test(a_bucket) or test(postgres_pooler))'";
    }
  );
  doctests = craneLib.cargoDocTest cargo;

  nix =
    check "nix"
      [
        pkgs.deadnix
        pkgs.nixfmt
      ]
      ''
        find ${../flake.nix} ${./.} -name '*.nix' -exec nixfmt --check {} + -exec deadnix --fail {} +
      '';

  # In a root with nothing else in it: no interpreter is found, and that is said, not suffered.
  # proot and not a namespace, which many builders refuse.
  empty-root =
    check "empty-root"
      [
        pkgs.jq
        pkgs.proot
      ]
      ''
        mkdir root
        cp ${lib.getExe static.packages.agent} root/attune-agent
        status=0
        env -i "$(type -P proot)" -r root -w / /attune-agent --detect-only --format json >report || status=$?
        [ $status -eq 3 ]
        jq --exit-status '.runtimes == []' report
      '';
}
// forArchitectures (
  arch: target:
  {
    "static-${arch}" = check "static-${arch}" [ ] (isStatic static.byArch.${arch});
  }
  // lib.mapAttrs' (
    name: image:
    lib.nameValuePair "${name}-${arch}" (
      check "${name}-${arch}" [ pkgs.jq ] ''
        LC_ALL=C sort ${listing image} >expected
        jq --compact-output --sort-keys . ${configuration image target} >>expected
        bash ${./image-listing.sh} ${images.packages."${name}-${arch}"} >actual
        diff expected actual
      ''
    )
  ) images.contents
)
