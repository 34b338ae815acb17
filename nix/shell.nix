# `nix develop`: everything that ./tests/run uses, and cargo ready for the static target.
{
  pkgs,
  craneLib,
  targets,
  interpreters,
}:
craneLib.devShell (
  # CARGO_BUILD_TARGET stays unset: a plain `cargo build` builds for this machine
  removeAttrs targets.native.environment [ "CARGO_BUILD_TARGET" ]
  // {
    packages = interpreters ++ [
      pkgs.cargo-auditable
      pkgs.cargo-deny
      pkgs.cargo-insta
      pkgs.cargo-nextest
      pkgs.check-jsonschema
      pkgs.deadnix
      pkgs.jq
      pkgs.nixfmt
      pkgs.postgresql
      pkgs.rabbitmq-server
      pkgs.shellcheck
      pkgs.skopeo
    ];
    shellHook = ''
      echo "Try: cargo run -p attune -- dev --run examples.tour" >&2
      echo "Then: ./tests/run, or cargo build --profile dist --target ${targets.native.triple}" >&2
    '';
  }
)
