#!/usr/bin/env bash
# Prints the path of s5cmd; compiles it from its Go module if necessary (a minute).
set -euo pipefail
version=2.3.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator/peers
program=$cache/s5cmd-$version
mkdir -p "$cache"
exec 9>"$program.lock"
flock 9
if ! [ -x "$program" ]; then
	command -v go >/dev/null || { echo "s5cmd.sh: Go 1.21 or newer is missing (Debian package golang-go)" >&2; exit 1; }
	echo "building s5cmd $version (a minute, the first time)" >&2
	module=$(mktemp -d "$cache/s5cmd.XXXXXX")
	trap 'rm -rf "$module"' EXIT
	cd "$module"
	# As a dependency of an empty module: `go install` wants the list of all versions besides.
	go mod init peers 2>/dev/null
	go mod edit -require "github.com/peak/s5cmd/v2@v$version"
	printf 'package peers\nimport _ "github.com/peak/s5cmd/v2"\n' >peers.go
	export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=mod"
	nice -n 10 go build -trimpath -o "$module/s5cmd" github.com/peak/s5cmd/v2 >&2
	mv "$module/s5cmd" "$program"
fi
echo "$program"
