#!/usr/bin/env bash
# Prints the directory of the Python environment of services and checker; creates it if necessary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator
venv=$cache/python-$(sha256sum <"$here/requirements.txt" | cut -c1-12)
mkdir -p "$cache"
exec 9>"$venv.lock"
flock 9
if ! [ -e "$venv/complete" ]; then
	command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null ||
		{ echo "venv.sh: python3 with venv is missing (Debian package python3-venv): run scripts/setup.sh" >&2; exit 1; }
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps -r "$here/requirements.txt" >&2
	touch "$venv/complete"
fi
echo "$venv"
