#!/usr/bin/env bash
# Writes the generated files: the custom resource definition, and of the chart its copy of that, its README and its
# licence. With --check, fails if they are out of date.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${CARGO_TARGET_DIR:?}/release
chart=$root/charts/s3-migration
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$programs/operator" crd >"$made/crd"
"$programs/kind-tests" chart-readme >"$made/readme"
generated=(
	"$made/crd" "$root/crds/migrationjobs.yaml"
	"$made/crd" "$chart/files/migrationjobs.yaml"
	"$made/readme" "$chart/README.md"
	"$root/LICENSE" "$chart/LICENSE"
)
for ((i = 0; i < ${#generated[@]}; i += 2)); do
	new=${generated[i]} file=${generated[i + 1]}
	if [ "${1:-}" = --check ]; then
		cmp -s "$new" "$file" || { echo "generate: $file is out of date: run make generate" >&2; exit 1; }
	else
		mkdir -p "$(dirname "$file")"
		cat "$new" >"$file"
	fi
done
