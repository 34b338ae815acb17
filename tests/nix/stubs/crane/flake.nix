{
  # crane's functions as the flake calls them: each result carries its arguments, and the traps are asserted.
  outputs = _: {
    mkLib =
      pkgs:
      let
        inherit (pkgs) lib;
        make =
          suffix: toolchain: arguments:
          assert arguments ? src;
          # crane would guess these with a warning
          assert arguments ? pname && arguments ? version;
          pkgs.mkDerivation "${arguments.pname}${suffix}-${arguments.version}" (
            arguments
            // {
              inherit toolchain;
              passthru = { inherit (arguments) pname version; };
            }
          );
        needsArtifacts =
          suffix: toolchain: arguments:
          assert arguments ? cargoArtifacts;
          make suffix toolchain arguments;
        craneLib = toolchain: {
          overrideToolchain = f: craneLib (f pkgs);
          fileset.commonCargoSources = lib.fileset.fileFilter (
            file: file.hasExt "rs" || file.hasExt "toml" || file.name == "Cargo.lock"
          );
          mkCargoDerivation = needsArtifacts "" toolchain;
          buildDepsOnly =
            arguments:
            # dependencies keep paths of the compiler
            assert !(arguments ? allowedReferences);
            make "-deps" toolchain arguments;
          buildPackage = needsArtifacts "" toolchain;
          cargoClippy = needsArtifacts "-clippy" toolchain;
          cargoDeny = make "-deny" toolchain;
          cargoDoc = needsArtifacts "-doc" toolchain;
          cargoDocTest = needsArtifacts "-doctest" toolchain;
          cargoFmt = make "-fmt" toolchain;
          cargoNextest = needsArtifacts "-nextest" toolchain;
          devShell =
            arguments: pkgs.mkShell (arguments // { packages = [ toolchain ] ++ arguments.packages; });
        };
      in
      craneLib (throw "the flake has to choose a toolchain");
  };
}
