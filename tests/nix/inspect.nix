# What tests/nix/run looks at: the outputs, made with the stub inputs and a fixed commit, as plain data.
let
  root = ../..;
  flake = import (root + "/flake.nix");
  lock = builtins.fromJSON (builtins.readFile (root + "/flake.lock"));

  stub = path: (import (path + "/flake.nix")).outputs { } // { outPath = path; };
  inputs = {
    nixpkgs = stub ./stubs/nixpkgs;
    crane = stub ./stubs/crane;
    rust-overlay = stub ./stubs/rust-overlay;
  };
  outputs = flake.outputs (inputs // { inherit self; });
  self = outputs // {
    rev = "0123456789abcdef0123456789abcdef01234567";
    lastModified = 1767323045;
    lastModifiedDate = "20260102030405";
  };
  inherit (inputs.nixpkgs) lib;

  perSystem = [
    "apps"
    "checks"
    "devShells"
    "packages"
  ];
  names = builtins.mapAttrs (_: builtins.mapAttrs (_: builtins.attrNames));
  matching =
    pattern: lib.filterAttrs (name: _: name != "default" && builtins.match pattern name != null);
  bySystem = f: builtins.mapAttrs (_: f) outputs.packages;

  # what cargo is told, of a static program and of the dependencies below it
  environment = lib.filterAttrs (
    name: _: builtins.match "(CARGO_BUILD|CARGO_PROFILE|CARGO_TARGET|CC_|CXX_|AR_).*" name != null
  );
  build = package: {
    inherit (package) system cargoExtraArgs cargoBuildCommand;
    environment = environment package;
    nativeBuildInputs = map (input: input.name) package.nativeBuildInputs;
    provesNoReferences = (package.allowedReferences or null) == [ ];
    program = package.meta.mainProgram;
    dependencies = {
      inherit (package.cargoArtifacts) name cargoExtraArgs;
      sameEnvironment = environment package.cargoArtifacts == environment package;
      provesNoReferences = package.cargoArtifacts ? allowedReferences;
    };
  };

  # { owner, repo, type } and a ref when there is one: what flake.lock calls "original"
  original =
    url:
    let
      parts = builtins.match "github:([^/]+)/([^/]+)(/(.+))?" url;
      part = builtins.elemAt parts;
    in
    {
      type = "github";
      owner = part 0;
      repo = part 1;
    }
    // (if part 3 == null then { } else { ref = part 3; });
  node = name: lock.nodes.${lock.nodes.root.inputs.${name}};
  lockFaults =
    name: input:
    lib.concatMapStrings (fault: "${name}: ${fault}\n") (
      (if (node name).original == original input.url then [ ] else [ "original is not ${input.url}" ])
      ++ (
        if builtins.match "[0-9a-f]{40}" (node name).locked.rev == null then [ "rev is no commit" ] else [ ]
      )
      ++ (
        if builtins.match "sha256-[A-Za-z0-9+/]{43}=" (node name).locked.narHash == null then
          [ "narHash is no hash" ]
        else
          [ ]
      )
      ++ (
        if
          ((node name).inputs or { })
          == builtins.mapAttrs (_: followed: [ followed.follows ]) (input.inputs or { })
        then
          [ ]
        else
          [ "does not follow what flake.nix says" ]
      )
    );
in
{
  outputs = {
    inherit (flake) description;
    inputs = builtins.attrNames flake.inputs;
    systems = builtins.attrNames outputs.packages;
    perSystem = names (lib.filterAttrs (name: _: builtins.elem name perSystem) outputs);
    formatter = builtins.mapAttrs (_: package: package.name) outputs.formatter;
    overlays = builtins.mapAttrs (
      _: overlay:
      builtins.attrNames (
        overlay { stdenv.hostPlatform.system = builtins.head (builtins.attrNames outputs.packages); } { }
      )
    ) outputs.overlays;
    nixosModules = builtins.attrNames outputs.nixosModules;
    files = bySystem (builtins.mapAttrs (_: package: package.name));
  };
  builds = bySystem (
    packages:
    builtins.mapAttrs (_: build) (matching "(agent|worker|api|attune)(-x86_64|-aarch64)?" packages)
  );
  images = bySystem (
    packages:
    builtins.mapAttrs (_: image: builtins.fromJSON image.image // { files = image.copyToRoot.text; }) (
      matching ".*-image(-.+)?" packages
    )
  );
  contents = import ../../nix/image-contents.nix {
    release = import ../../nix/release.nix { inherit lib self; };
  };
  apps = builtins.mapAttrs (_: builtins.mapAttrs (_: app: app.program)) outputs.apps;
  shell = builtins.mapAttrs (_: shells: {
    inherit (shells.default) shellHook;
    packages = map (package: package.name) shells.default.nativeBuildInputs;
    environment = environment shells.default;
  }) outputs.devShells;
  default = bySystem (packages: packages.default.drvPath == packages.agent.drvPath);
  sources = {
    build = "${outputs.packages.x86_64-linux.agent.src}";
    test = "${outputs.checks.x86_64-linux.clippy.src}";
  };
  lock = {
    inputs =
      builtins.attrNames lock.nodes.root.inputs == builtins.attrNames flake.inputs
      && lock.root == "root"
      && lock.version == 7;
    faults = lib.concatStrings (lib.mapAttrsToList lockFaults flake.inputs);
  };
}
