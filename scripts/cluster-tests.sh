#!/usr/bin/env bash
# Runs the cluster tests in a file of kind-tests/tests, with the cluster, services and chart of this checkout:
#   cluster-tests.sh smoke|e2e [names of tests]
# Removes the cluster and the services afterwards, unless they were running before.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cluster=$root/kind-tests/cluster/cluster.sh
suite=$1
shift
tests=$root/kind-tests

keep_cluster=
bash "$cluster" status >/dev/null 2>&1 && keep_cluster=1
keep_services=
program=${CARGO_TARGET_DIR:?}/release/kind-tests
"$program" running && keep_services=1

finish() {
	local code=$?
	[ "$keep_services" ] || "$program" down || code=1
	[ "$keep_cluster" ] || bash "$cluster" down || code=1
	exit $code
}
trap finish EXIT

# What does not compile is known before anything is started.
cargo test --release --workspace --locked --features s3migrate/cluster --test "$suite" --no-run
bash "$root/scripts/install.sh"
eval "$(bash "$cluster" env)"
"$program" clear
code=0
# A failed case prints its own error and keeps logs; a backtrace of the test program would add nothing.
RUST_BACKTRACE=0 cargo test --release --workspace --locked --features s3migrate/cluster --test "$suite" -- --ignored --test-threads=1 --nocapture "$@" || code=$?
write=()
if [ "$suite" = e2e ]; then
	write=(--write "$tests/RESULTS.md")
	[ $# = 0 ] || write+=(--merge)
fi
"$program" results "${write[@]}" || code=1
exit $code
