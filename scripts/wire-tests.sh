#!/usr/bin/env bash
# Runs the tests in kind-tests/tests/wire.rs, which need no cluster:
#   wire-tests.sh [names of tests]
# LARGE_SIZE and TREE_SIZE set the sizes, as in LARGE_SIZE=256Mi.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tests=$root/kind-tests
program=${CARGO_TARGET_DIR:?}/release/kind-tests

cargo test --release --workspace --locked --test wire --no-run
bash "$tests/services/venv.sh" >/dev/null
for server in toxiproxy versitygw minio; do bash "$tests/services/servers.sh" "$server" >/dev/null; done
for server in elasticmq dynamodb-local; do bash "$tests/services/java.sh" "$server" >/dev/null; done
"$program" clear --suite wire
code=0
RUST_BACKTRACE=0 cargo test --release --workspace --locked --test wire -- --ignored --test-threads=1 --nocapture "$@" || code=$?
merge=()
[ $# = 0 ] || merge=(--merge)
"$program" results --suite wire --write "$tests/WIRE.md" "${merge[@]}" || code=1
exit $code
