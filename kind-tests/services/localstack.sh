#!/usr/bin/env bash
# Prints the directory of LocalStack's Python environment; creates it if necessary (about a minute, 520 MB).
# The versions are pinned for Python 3.11: with others the program does not start.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator
venv=$cache/localstack-$(sha256sum <"$here/localstack.txt" | cut -c1-12)
mkdir -p "$cache"
exec 9>"$venv.lock"
flock 9
if ! [ -e "$venv/complete" ]; then
	python=$(command -v python3.11) && "$python" -c 'import ensurepip' 2>/dev/null ||
		{ echo "localstack.sh: python3.11 with venv is missing (Debian 12 package python3-venv)" >&2; exit 1; }
	rm -rf "$venv"
	"$python" -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps -r "$here/localstack.txt" >&2
	touch "$venv/complete"
fi
echo "$venv"
