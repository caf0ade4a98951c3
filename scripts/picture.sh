#!/usr/bin/env bash
# Writes docs/demo.svg and docs/demo-progress.svg, pictures of a real run of the demo: picture.sh PROGRAM
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/s3-migration-operator/picture
if ! [ -e "$venv/complete" ]; then
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-input pyte==0.8.2 rich==14.2.0
	touch "$venv/complete"
fi
"$venv/bin/python" "$root/scripts/picture.py" "$1" "$root/docs"
