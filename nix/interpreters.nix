# Interpreters of each built-in runtime, with what installs libraries for them; shell comes in its three usual forms.
{ pkgs }:
[
  pkgs.bash
  pkgs.dash
  # the program alone: its applets would stand before everybody's tar and find
  (pkgs.runCommand "busybox-alone" { } "install -D ${pkgs.busybox}/bin/busybox $out/bin/busybox")
  pkgs.python3
  # a second one, between which requirements choose
  pkgs.pypy3
  # with npm
  pkgs.nodejs
  # with bundler
  pkgs.ruby
  pkgs.go
  pkgs.jdk_headless
  pkgs.R
  pkgs.perl
  # what installs libraries beside those
  pkgs.perlPackages.Appcpanminus
  pkgs.uv
  pkgs.gnumake
]
