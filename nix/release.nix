# What is being built: the facts that labels, file names and dates are made of.
{ lib, self }:
let
  inherit ((lib.importTOML ../Cargo.toml).workspace) package;
  date = self.lastModifiedDate or "19700101000001";
  part = start: length: builtins.substring start length date;
in
{
  inherit (package) version license;
  source = package.repository;
  revision = self.rev or self.dirtyRev or "unknown";
  # the commit's time and never the clock's: the same commit gives the same image
  created = "${part 0 4}-${part 4 2}-${part 6 2}T${part 8 2}:${part 10 2}:${part 12 2}Z";
  epoch = self.lastModified or 1;
}
