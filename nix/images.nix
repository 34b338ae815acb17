# Container images.
#
# «name»-image, and with -x86_64 or -aarch64 behind it: a docker-archive, compressed; `docker load`,
# `podman load` and skopeo's docker-archive: read it.
# agent-images: a folder, one OCI layout with all three images as multi-architecture indexes;
# skopeo's oci: reads it.
{
  pkgs,
  busybox,
  release,
  static,
  targets,
}:
let
  inherit (pkgs) lib;
  contents = import ./image-contents.nix { inherit release; };

  select = kind: lib.filterAttrs (_: entry: entry ? ${kind});
  script = f: entries: lib.concatStrings (lib.mapAttrsToList f entries);

  # Real files, not links: what is not copied here is not in the image.
  files =
    image: target:
    pkgs.runCommand "${image.name}-files-${target.arch}"
      {
        nativeBuildInputs = [ pkgs.removeReferencesTo ];
        allowedReferences = [ ];
      }
      (
        script (path: entry: ''
          install -D -m 0555 ${lib.getExe static.byArch.${target.arch}.${entry.program}} $out/${path}
        '') (select "program" image.contents)
        # names its own store path, which would bring the whole package along
        + script (path: _: ''
          install -D ${busybox target.arch}/bin/busybox $out/${path}
          remove-references-to -t ${busybox target.arch} $out/${path}
          chmod 0555 $out/${path}
        '') (select "busybox" image.contents)
        + script (path: entry: ''
          ln -s ${entry.link} $out/${path}
        '') (select "link" image.contents)
      );

  build =
    image: target:
    pkgs.dockerTools.buildImage {
      inherit (image) name config;
      inherit (release) created;
      tag = release.version;
      architecture = target.oci;
      copyToRoot = files image target;
      # the store knows no such modes
      extraCommands = script (path: entry: ''
        mkdir -p ${path} && chmod ${entry.directory} ${path}
      '') (select "directory" image.contents);
    };

  archives = targets.named (lib.mapAttrs (_: build) contents);

  # one tag and the archives of its architectures, as oci-layout.sh takes them
  group =
    name: image:
    lib.concatMapStringsSep "," toString (
      [ "${release.version}${image.suffix}" ]
      ++ map (arch: archives."${name}-${arch}") (lib.attrNames targets.all)
    );
  layout = pkgs.runCommand "attune-images-${release.version}" {
    nativeBuildInputs = [
      pkgs.jq
      pkgs.skopeo
    ];
  } "bash ${./oci-layout.sh} $out ${lib.concatStringsSep " " (lib.mapAttrsToList group contents)}";
in
{
  inherit contents;
  packages = archives // {
    agent-images = layout;
  };
}
