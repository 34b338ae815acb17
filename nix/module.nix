# services.attune-worker: attune-worker as a systemd service, with the interpreters that its settings name.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.attune-worker;
  yaml = pkgs.formats.yaml { };
in
{
  options.services.attune-worker = {
    enable = lib.mkEnableOption "the Attune worker";
    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.worker;
      defaultText = lib.literalExpression "attune.packages.\${system}.worker";
      description = "The package that provides attune-worker.";
    };
    settings = lib.mkOption {
      inherit (yaml) type;
      default = { };
      example = lib.literalExpression "{ worker.runtimes.python = lib.getExe pkgs.python3; }";
      description = "Contents of the configuration file, readable by all; see `secrets`.";
    };
    secrets = lib.mkOption {
      type = lib.types.attrsOf lib.types.path;
      default = { };
      example.ATTUNE__DATABASE__URL = "/run/secrets/attune-database-url";
      description = "Configuration variables, and the files that only root can read with their values.";
    };
  };

  config = lib.mkIf cfg.enable {
    # actions that ran as the worker's own user could read its secrets
    services.attune-worker.settings.worker.run_as = lib.mkDefault "65532:65532";
    systemd.services.attune-worker = {
      description = "Attune worker";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      environment = {
        ATTUNE_CONFIG = yaml.generate "attune-worker.yaml" cfg.settings;
      }
      // lib.mapAttrs' (name: _: lib.nameValuePair "${name}_FILE" "%d/${name}") cfg.secrets;
      serviceConfig = {
        ExecStart = lib.getExe cfg.package;
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.secrets;
        # root, with what it takes to run actions as somebody else and nothing more
        CapabilityBoundingSet = [
          "CAP_CHOWN"
          "CAP_DAC_OVERRIDE"
          "CAP_FOWNER"
          "CAP_KILL"
          "CAP_SETGID"
          "CAP_SETUID"
        ];
        NoNewPrivileges = true;
        PrivateTmp = true;
        ProtectHome = "read-only";
        ProtectSystem = "strict";
        RestrictSUIDSGID = true;
        # what worker.cache_dir is by default
        CacheDirectory = "attune";
        StateDirectory = "attune";
        # control groups for the actions below its own
        Delegate = true;
        Restart = "on-failure";
        # the worker lets running executions finish
        KillMode = "mixed";
        TimeoutStopSec = "6min";
      };
    };
  };
}
