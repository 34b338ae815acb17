//! What must never be linked in: other people's C libraries for TLS would end the single static binary.

use attune_tests::binaries::workspace;
use cargo_metadata::MetadataCommand;

#[test]
fn tls_is_rustls_on_ring_and_nothing_else() {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("cargo metadata");
    // the resolved graph holds what is really used, on every platform and with every default feature
    let resolved = metadata.resolve.as_ref().expect("a resolved graph");
    let names: Vec<&str> = resolved.nodes.iter().map(|node| metadata[&node.id].name.as_str()).collect();
    for forbidden in
        ["native-tls", "openssl", "openssl-sys", "aws-lc-rs", "aws-lc-sys", "boring-sys", "cmake", "bindgen"]
    {
        assert!(
            !names.contains(&forbidden),
            "{forbidden} is in the tree: 'cargo tree -i {forbidden}' says who brings it"
        );
    }
    assert!(names.contains(&"ring"), "the list was read");
}

#[test]
fn no_file_makes_rustup_download_a_toolchain() {
    for name in ["rust-toolchain", "rust-toolchain.toml"] {
        assert!(
            !workspace().join(name).exists(),
            "{name} at the top makes rustup fetch: it belongs into nix/"
        );
    }
}
