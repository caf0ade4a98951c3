#!/usr/bin/env bash
# Builds the programs of an earlier commit and loads their images into the cluster: release.sh COMMIT
# Prints CHART=... OPERATOR_IMAGE=... WORKER_IMAGE=.... Programs and chart are kept in the cache directory; the first
# build takes about 10 minutes on 2 cores, and 4 GB of disk while it lasts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
commit=$(git -C "$root" rev-parse --verify --quiet "$1^{commit}") || {
	echo "release: there is no commit $1 here: a clone without history needs git fetch --unshallow" >&2
	exit 1
}
kept=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator/releases/$commit
if ! [ -e "$kept/complete" ]; then
	echo "release: building the programs of $commit" >&2
	rm -rf "$kept"
	mkdir -p "$kept/source" "$kept/release"
	git -C "$root" archive "$commit" | tar -x -C "$kept/source"
	# A build directory of its own: in the common one, Cargo would take the older crates for those of this checkout.
	(cd "$kept/source" && env -u RUSTC_WORKSPACE_WRAPPER CARGO_TARGET_DIR="$kept/target" \
		cargo build --release --locked --bins -p s3-migration-operator -p s3-migration-worker >&2)
	for program in operator worker jobsender; do
		strip --strip-debug -o "$kept/release/$program" "$kept/target/release/$program"
	done
	cp -r "$kept/source/charts" "$kept/charts"
	rm -rf "$kept/source" "$kept/target"
	touch "$kept/complete"
fi
images=$(CARGO_TARGET_DIR=$kept bash "$here/images.sh")
printf 'CHART=%s\n%s\n' "$kept/charts/s3-migration" "$images"
