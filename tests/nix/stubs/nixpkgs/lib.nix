# The functions of nixpkgs' lib that the flake uses.
let
  inherit (builtins)
    attrNames
    attrValues
    concatStringsSep
    filter
    foldl'
    head
    listToAttrs
    map
    mapAttrs
    match
    stringLength
    substring
    ;

  lib = {
    inherit (builtins) attrNames attrValues mapAttrs;
    nameValuePair = name: value: { inherit name value; };
    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    filterAttrs = keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    concatMapAttrs = f: set: foldl' (all: name: all // f name set.${name}) { } (attrNames set);

    inherit concatStringsSep;
    concatStrings = concatStringsSep "";
    concatMapStrings = f: list: concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatLines = lines: concatStringsSep "" (map (line: "${line}\n") lines);
    removePrefix =
      prefix: text:
      let
        length = stringLength prefix;
      in
      if substring 0 length text == prefix then substring length (-1) text else text;
    toUpper =
      let
        small = filter (c: c != "") (builtins.split "" "abcdefghijklmnopqrstuvwxyz");
        large = filter (c: c != "") (builtins.split "" "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        letters = filter builtins.isString;
      in
      builtins.replaceStrings (letters small) (letters large);

    importTOML = path: fromTOML (builtins.readFile path);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    licenses.asl20.spdxId = "Apache-2.0";
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];

    # A file set is a predicate on paths below the root.
    fileset =
      let
        under =
          folder: path:
          let
            text = toString folder;
          in
          path == text || substring 0 (stringLength text + 1) path == "${text}/";
        predicate = set: if builtins.isFunction set then set else under set;
        extension = name: match ".*\\.([^.]*)" name;
      in
      {
        unions = sets: path: builtins.any (set: predicate set path) sets;
        difference =
          some: others: path:
          predicate some path && !predicate others path;
        maybeMissing = path: path;
        fileFilter =
          keep: folder: path:
          let
            name = baseNameOf path;
          in
          under folder path
          && keep {
            inherit name;
            hasExt = wanted: extension name != null && head (extension name) == wanted;
          };
        toSource =
          { root, fileset }:
          {
            outPath = builtins.path {
              path = root;
              name = "source";
              filter = path: type: type == "directory" || predicate fileset path;
            };
          };
      };
  };
in
lib
