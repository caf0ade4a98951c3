#!/usr/bin/env bash
# Builds images of the programs in $CARGO_TARGET_DIR/release and loads them into the cluster, unless it has them. Their
# tags are hashes of the content. Prints OPERATOR_IMAGE=... and WORKER_IMAGE=...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator
release=${CARGO_TARGET_DIR:?}/release
stage=$cache/images-build
rm -rf "$stage"
mkdir -p "$stage/out"
for program in operator worker jobsender; do
	# Debug information is most of the program's size, and useless in the image.
	strip --strip-debug -o "$stage/out/$program" "$release/$program"
done

image() { # target programs...
	local target=$1 name=s3-migration-$1 tag; shift
	tag=$(cd "$stage/out" && cat "$root/Dockerfile" "$@" | sha256sum | cut -c1-12)
	if ! bash "$here/cluster.sh" has-image "localhost/$name:$tag"; then
		bash "$here/cluster.sh" image "localhost/$name:$tag" "$stage" -f "$root/Dockerfile" --target "$target" \
			--build-context "build=$stage" >&2
		echo "loaded localhost/$name:$tag" >&2
	fi
	echo "localhost/$name:$tag"
}

operator=$(image operator operator)
worker=$(image worker worker jobsender)
printf 'OPERATOR_IMAGE=%s\nWORKER_IMAGE=%s\n' "$operator" "$worker"
rm -rf "$stage"
