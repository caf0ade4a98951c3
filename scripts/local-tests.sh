#!/usr/bin/env bash
# Runs the tests in kind-tests/tests/local.rs, which need no cluster:
#   local-tests.sh [names of tests]
# TREE_SIZE and LARGE_SIZE set sizes, as in TREE_SIZE=100Mi; PLANNED the keys of the plan; SEED and KILLS the kills.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tests=$root/kind-tests
program=${CARGO_TARGET_DIR:?}/release/kind-tests

cargo test --release --workspace --locked --test local --no-run
bash "$tests/services/venv.sh" >/dev/null
bash "$tests/services/localstack.sh" >/dev/null
for server in versitygw minio; do bash "$tests/services/servers.sh" "$server" >/dev/null; done
"$program" clear --suite local
code=0
RUST_BACKTRACE=0 cargo test --release --workspace --locked --test local -- --ignored --test-threads=1 --nocapture "$@" || code=$?
merge=()
[ $# = 0 ] || merge=(--merge)
"$program" results --suite local --write "$tests/LOCAL.md" "${merge[@]}" || code=1
exit $code
