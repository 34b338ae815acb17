# One interpreter of each built-in runtime; shell comes in its three usual forms.
{ pkgs }:
[
  pkgs.bash
  pkgs.dash
  # the program alone: its applets would stand before everybody's tar and find
  (pkgs.runCommand "busybox-alone" { } "install -D ${pkgs.busybox}/bin/busybox $out/bin/busybox")
  pkgs.python3
  pkgs.nodejs
  pkgs.ruby
  pkgs.go
  pkgs.jdk_headless
  pkgs.R
  pkgs.perl
]
