# The two static targets, and what cargo has to be told to build for them from this machine.
{ pkgs }:
let
  inherit (pkgs) lib;
  own = pkgs.stdenv.hostPlatform.parsed.cpu.name;

  target =
    {
      arch,
      oci,
      cross,
    }:
    let
      triple = "${arch}-unknown-linux-musl";
      name = builtins.replaceStrings [ "-" ] [ "_" ] triple;
      # for the own architecture the static set's compiler, which the public cache has
      inherit ((if arch == own then pkgs.pkgsStatic else cross).stdenv) cc;
      tool = program: "${cc}/bin/${cc.targetPrefix}${program}";
    in
    {
      inherit arch oci triple;
      # Paths only: as a build input this compiler's hooks would reach build scripts and proc macros.
      environment = {
        CARGO_BUILD_TARGET = triple;
        "CARGO_TARGET_${lib.toUpper name}_LINKER" = tool "cc";
        "CARGO_TARGET_${lib.toUpper name}_RUSTFLAGS" = "-C target-feature=+crt-static";
        "CC_${name}" = tool "cc";
        "CXX_${name}" = tool "c++";
        "AR_${name}" = tool "ar";
      };
    };
in
rec {
  all = {
    x86_64 = target {
      arch = "x86_64";
      oci = "amd64";
      cross = pkgs.pkgsCross.musl64;
    };
    aarch64 = target {
      arch = "aarch64";
      oci = "arm64";
      cross = pkgs.pkgsCross.aarch64-multiplatform-musl;
    };
  };
  native = all.${own};

  # { agent = «arch → package»; } → { agent = …; agent-x86_64 = …; agent-aarch64 = …; }
  named = lib.concatMapAttrs (
    name: make:
    {
      ${name} = make native;
    }
    // lib.mapAttrs' (arch: target: lib.nameValuePair "${name}-${arch}" (make target)) all
  );
}
