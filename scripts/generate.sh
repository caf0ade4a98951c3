#!/usr/bin/env bash
# Writes the generated files: the custom resource definition and the chart's copy of it. With --check, fails if they
# are out of date.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
crd=$root/crds/migrationjobs.yaml
copy=$root/charts/s3-migration/files/migrationjobs.yaml
made=$(mktemp)
trap 'rm -f "$made"' EXIT
"${CARGO_TARGET_DIR:?}/release/operator" crd >"$made"
if [ "${1:-}" = --check ]; then
	for file in "$crd" "$copy"; do
		cmp -s "$made" "$file" || { echo "generate: $file is out of date: run make generate" >&2; exit 1; }
	done
else
	mkdir -p "$(dirname "$crd")" "$(dirname "$copy")"
	cp "$made" "$crd"
	cp "$made" "$copy"
fi
