# `nix develop`: what `cargo test` uses (./tests/run also takes root file systems from Debian's archive, by apt), and cargo ready for
# the static target.
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
      pkgs.bubblewrap
      pkgs.cargo-auditable
      pkgs.cargo-deny
      pkgs.cargo-insta
      pkgs.cargo-nextest
      pkgs.check-jsonschema
      pkgs.conmon
      pkgs.deadnix
      pkgs.jq
      pkgs.mmdebstrap
      pkgs.nixfmt
      pkgs.openssl
      pkgs.podman
      pkgs.postgresql
      pkgs.qemu
      pkgs.rabbitmq-server
      pkgs.runc
      pkgs.shellcheck
      pkgs.skopeo
    ];
    shellHook = ''
      echo "Try: cargo run -p attune -- dev --run examples.tour" >&2
      echo "Then: ./tests/run, or cargo build --profile dist --target ${targets.native.triple}" >&2
    '';
  }
)
