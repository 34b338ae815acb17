# What `nix run` starts.
{
  pkgs,
  static,
  images,
}:
let
  app = description: program: {
    type = "app";
    program = pkgs.lib.getExe program;
    meta = { inherit description; };
  };

  # the README's first command: every example action, on the interpreters of this machine
  tour = pkgs.writeShellApplication {
    name = "attune-tour";
    text = ''exec ${pkgs.lib.getExe static.packages.attune} dev --run examples.tour "$@"'';
  };

  publish-images = pkgs.writeShellApplication {
    name = "publish-images";
    runtimeInputs = [
      pkgs.jq
      pkgs.skopeo
    ];
    text = ''
      export LAYOUT=${images.packages.agent-images}
      exec ${pkgs.runtimeShell} ${./publish-images.sh} "$@"
    '';
  };
in
{
  default = app "Run the example tour on this machine" tour;
  publish-images = app "Push the multi-architecture images; a dry run without --push" publish-images;
}
