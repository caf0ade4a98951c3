#!/usr/bin/env bash
# Packs the programs of this checkout for this architecture into dist/: archives with licences, completions and manual
# pages, bills of materials, and the checksums of all. Needs the programs in $CARGO_TARGET_DIR/release, built with
# s3migrate/cluster. Any step that fails ends it.
set -euo pipefail
umask 022
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
release=${CARGO_TARGET_DIR:?}/release
tools=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator/cargo-tools
# The compiler wrapper of the Makefile lints our own crates; the tools are not ours.
unset RUSTC_WORKSPACE_WRAPPER

target=$(rustc -vV | sed -n 's/^host: //p')
version=$(cargo pkgid --locked -p s3migrate)
version=${version##*[#@]}
# Times in archives and bills of materials, so that the same commit gives the same files.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
[ "$target" ] && [ "$version" ] && [ "$SOURCE_DATE_EPOCH" ] || { echo "dist: failed to find target, version or time" >&2; exit 1; }

work=$(mktemp -d)
clean() {
	rm -rf "$work"
	rm -f "$root"/*/*_bin.cdx.json "$root"/*/*/*_bin.cdx.json
}
trap clean EXIT
rm -rf dist
mkdir dist

# The tools run seldom: their own settings, which optimize at link time, would take minutes more to compile.
install_tool() { # crate version [features]
	local installed
	installed=$("$tools/bin/$1" "${1#cargo-}" --version 2>/dev/null || true)
	[ "${installed##* }" = "$2" ] && return
	echo "dist: installing $1 $2"
	env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		nice -n 19 cargo install --quiet --locked --root "$tools" ${3:+--features "$3"} "$1@$2"
}
install_tool cargo-about 0.9.3 cli
install_tool cargo-cyclonedx 0.5.9

# The licences that deny.toml allows. A library with another one, or without any, fails this step.
{
	sed -n '/^allow = \[/,/^\]/p' deny.toml | sed '1s/^allow/accepted/'
	printf '%s = true\n' ignore-build-dependencies ignore-dev-dependencies
	echo 'private = { ignore = true }'
	echo "targets = [\"$target\"]"
} >"$work/about.toml"
cp LICENSE "$work/LICENSE"
"$tools/bin/cargo-about" generate --frozen --fail --workspace --features s3migrate/cluster --config "$work/about.toml" \
	--output-file "$work/LICENSES-OF-LIBRARIES" scripts/dist/licenses.hbs
[ -s "$work/LICENSES-OF-LIBRARIES" ] || { echo "dist: there are no licences" >&2; exit 1; }

# Writes a bill of materials beside each Cargo.toml.
"$tools/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path cli/Cargo.toml --format json --describe binaries \
	--spec-version 1.5 --no-build-deps --target "$target" --features cluster
for program in cli/s3migrate operator/operator worker/worker worker/jobsender; do
	# The directory of this checkout says nothing elsewhere.
	sed "s|file://$root/|file:///|g; s|file://$root#|file:///#|g" "${program}_bin.cdx.json" \
		>"dist/${program#*/}-$version-$target.cdx.json"
done

# Packs directories of $work into an archive of this name. Sorted, with one time and no owner.
pack() { # name
	tar --directory "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode=u+rw,go+r,go-w --create "$1" | gzip -n -9 >"dist/$1.tar.gz"
}

programs() { # name programs...
	local name=$1 program; shift
	mkdir -p "$work/$name/bin"
	cp "$work/LICENSE" "$work/LICENSES-OF-LIBRARIES" "$work/$name"
	for program; do strip --strip-all -o "$work/$name/bin/$program" "$release/$program"; done
}

cli=s3migrate-$version-$target
programs "$cli" s3migrate
# By this name kubectl finds it as `kubectl s3migrate`.
ln -s s3migrate "$work/$cli/bin/kubectl-s3migrate"
s3migrate=$work/$cli/bin/s3migrate
"$s3migrate" cluster --help >/dev/null || { echo "dist: s3migrate was built without the feature cluster" >&2; exit 1; }
mkdir "$work/$cli/completions"
"$s3migrate" completion bash >"$work/$cli/completions/s3migrate.bash"
"$s3migrate" completion zsh >"$work/$cli/completions/_s3migrate"
"$s3migrate" completion fish >"$work/$cli/completions/s3migrate.fish"
"$s3migrate" man "$work/$cli/man/man1" >/dev/null
pack "$cli"

operator=s3-migration-operator-$version-$target
programs "$operator" operator worker jobsender
pack "$operator"

cd dist
sha256sum ./*.tar.gz ./*.cdx.json | sed 's|\./||' >SHA256SUMS
cat SHA256SUMS
