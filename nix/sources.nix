# Which files a derivation sees. Everything else may change without a rebuild.
{ lib, craneLib }:
let
  inherit (lib) fileset;
  root = ../.;

  # whole folders, because code embeds migrations, manifests and packs of any ending
  compiled = fileset.unions [
    (craneLib.fileset.commonCargoSources root)
    (root + "/crates")
    (root + "/packs")
  ];
  recorded = fileset.fileFilter (file: file.hasExt "snap") root;
  tested = fileset.unions [
    compiled
    (root + "/tests")
    (fileset.maybeMissing (root + "/README.md"))
  ];
  toSource =
    files:
    fileset.toSource {
      inherit root;
      fileset = files;
    };
in
{
  # what programs are compiled from: a snapshot that changes rebuilds none of them
  build = toSource (fileset.difference compiled recorded);
  # the same, and what tests and lints read
  test = toSource (fileset.difference tested (root + "/tests/nix"));
}
