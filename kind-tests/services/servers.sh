#!/usr/bin/env bash
# Prints the path of a server's program, as named in servers.txt; builds it from its Go module if necessary (minutes):
#   servers.sh NAME
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:?servers.sh: name a server of servers.txt}
line=$(grep "^$name " "$here/servers.txt") || { echo "servers.sh: servers.txt has no $name" >&2; exit 1; }
read -r _ package version <<<"$line"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator
program=$cache/servers/$name-$(sha256sum <<<"$line" | cut -c1-12)
mkdir -p "$cache/servers"
exec 9>"$program.lock"
flock 9
if ! [ -x "$program" ]; then
	command -v go >/dev/null || { echo "servers.sh: Go 1.21 or newer is missing (Debian package golang-go)" >&2; exit 1; }
	echo "building $name $version (minutes, the first time)" >&2
	bin=$(mktemp -d "$cache/servers/$name.XXXXXX")
	trap 'rm -rf "$bin"' EXIT
	GOBIN=$bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false nice -n 10 go install -trimpath "$package@$version" >&2
	mv "$bin/${package##*/}" "$program"
fi
echo "$program"
