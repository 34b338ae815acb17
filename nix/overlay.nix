# The programs as packages of somebody else's nixpkgs.
{ self }:
final: _:
let
  packages = self.packages.${final.stdenv.hostPlatform.system};
in
{
  inherit (packages) attune;
  attune-agent = packages.agent;
  attune-api = packages.api;
  attune-worker = packages.worker;
}
