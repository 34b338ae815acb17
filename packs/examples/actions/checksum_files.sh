#!/bin/sh
# Digests of the files in a folder. Plain POSIX sh: runs under dash, busybox ash, bash, ksh …
set -eu

fail() { printf 'checksum_files: %s\n' "$1" >&2; exit 1; }

# Parameters come on stdin as dotenv lines: name='value', with ' written as '\''. That is exactly the shell's own
# quoting, so evaluating them only ever assigns: nothing inside the quotes is expanded or run.
eval "$(cat)"
: "${directory:=data}" "${pattern:=*}" "${algorithm:=sha256}" "${min_files:=1}"

case $directory in
    /*) folder=$directory ;;
    *) folder=$ATTUNE_PACK_DIR/$directory ;;
esac
[ -d "$folder" ] || fail "no such folder: $directory"
command -v "${algorithm}sum" >/dev/null || fail "this machine has no ${algorithm}sum"

# A sed script that turns control characters into \u00XX; newline is treated apart, because sed works line by line.
control_characters='' code=1
while [ "$code" -lt 32 ]; do
    if [ "$code" -ne 10 ]; then
        character=$(printf "\\$(printf %03o "$code")")
        control_characters="$control_characters;s/$character/\\\\u$(printf %04x "$code")/g"
    fi
    code=$((code + 1))
done

# json_string TEXT: TEXT as a JSON string.
json_string() {
    printf '"'
    printf '%s\n' "$1" | LC_ALL=C sed -e ':join' -e '$!N' -e '$!bjoin' \
        -e 's/\\/\\\\/g;s/"/\\"/g;s/\n/\\n/g' -e "${control_characters#;}" | tr -d '\n'
    printf '"'
}

printf 'computing %s of %s/%s\n' "$algorithm" "$directory" "$pattern" >&2
count=0 total_bytes=0 files=''
IFS='' # so that $pattern, unquoted in order to be expanded, is not split at its spaces
for file in "$folder"/$pattern; do
    [ -f "$file" ] || continue
    [ -r "$file" ] || fail "cannot read $file"
    name=${file##*/}
    digest=$("${algorithm}sum" <"$file") # read from stdin: given a name, sha256sum would escape odd ones
    digest=${digest%% *}
    bytes=$(($(wc -c <"$file")))
    count=$((count + 1)) total_bytes=$((total_bytes + bytes))
    printf '  %.12s…  %8d bytes  %s\n' "$digest" "$bytes" "$name" >&2
    files="$files${files:+,}{\"name\":$(json_string "$name"),\"bytes\":$bytes,\"digest\":\"$digest\"}"
done
[ "$count" -ge "$min_files" ] || fail "$count files match $directory/$pattern, expected at least $min_files"

printf '{"directory":%s,"algorithm":"%s","count":%d,"total_bytes":%d,"files":[%s]}\n' \
    "$(json_string "$directory")" "$algorithm" "$count" "$total_bytes" "$files"
