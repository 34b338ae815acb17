# What every image contains and how it is configured: data, with no package and no builder in it.
# Images are built from it, the check compares images with it, and tests/nix/snapshots/images.json
# shows it to tests on machines without Nix.
{ release }:
let
  common = title: description: {
    User = "65532:65532";
    WorkingDir = "/";
    Labels = {
      "org.opencontainers.image.title" = title;
      "org.opencontainers.image.description" = description;
      "org.opencontainers.image.source" = release.source;
      "org.opencontainers.image.version" = release.version;
      "org.opencontainers.image.revision" = release.revision;
      "org.opencontainers.image.licenses" = release.license;
    };
  };
  applets = [
    "cat"
    "chmod"
    "cp"
    "df"
    "echo"
    "env"
    "false"
    "find"
    "grep"
    "head"
    "id"
    "ln"
    "ls"
    "mkdir"
    "mv"
    "ps"
    "pwd"
    "rm"
    "rmdir"
    "sed"
    "sh"
    "sha256sum"
    "sleep"
    "stat"
    "tail"
    "test"
    "touch"
    "true"
    "uname"
    "vi"
    "wc"
  ];
  links = map (applet: {
    name = "bin/${applet}";
    value.link = "busybox";
  }) applets;
in
{
  # One file. It can be its own init container ("attune-agent install DIR") and a Kubernetes image volume.
  agent-image = {
    name = "attune-agent";
    suffix = "";
    contents."attune-agent".program = "agent";
    config = common "attune-agent" "The Attune agent, alone: one static file" // {
      Entrypoint = [ "/attune-agent" ];
      Env = [ ];
    };
  };

  # The same file at the same place, and a shell. Started without arguments, it fills a shared volume.
  agent-init-image = {
    name = "attune-agent-init";
    suffix = "-init";
    contents = {
      "attune-agent".program = "agent";
      "bin".directory = "0755";
      "bin/busybox".busybox = true;
      "opt".directory = "0755";
      "opt/attune".directory = "0755";
      # New named volumes take over this mode; without it only one uid could install.
      "opt/attune/agent".directory = "0777";
      "tmp".directory = "1777";
    }
    // builtins.listToAttrs links;
    config = common "attune-agent-init" "Installs the Attune agent into a shared volume" // {
      Cmd = [
        "/attune-agent"
        "install"
        "/opt/attune/agent"
      ];
      Env = [ "PATH=/bin" ];
    };
  };

  api-image = {
    name = "attune-api";
    suffix = "-api";
    contents."attune-api".program = "api";
    config = common "attune-api" "The Attune control plane: HTTP API over the store" // {
      Entrypoint = [ "/attune-api" ];
      # in a container, the loopback address is out of everybody's reach
      Env = [ "ATTUNE__API__LISTEN=0.0.0.0:8650" ];
      ExposedPorts."8650/tcp" = { };
    };
  };
}
