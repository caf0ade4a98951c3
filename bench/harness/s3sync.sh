#!/usr/bin/env bash
# Prints the path of s3sync (the Rust crate; a Go module of that name is another program); compiles it if necessary, with
# its own optimization at link time (a quarter of an hour on two cores).
set -euo pipefail
version=1.62.4
root=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator/peers/s3sync-$version
mkdir -p "$root"
exec 9>"$root.lock"
flock 9
if ! [ -x "$root/bin/s3sync" ]; then
	echo "compiling s3sync $version (a quarter of an hour, the first time)" >&2
	env -u CARGO_TARGET_DIR -u RUSTC_WORKSPACE_WRAPPER \
		nice -n 15 cargo install --quiet --locked --root "$root" "s3sync@$version" >&2
fi
echo "$root/bin/s3sync"
