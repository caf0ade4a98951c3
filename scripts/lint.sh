#!/usr/bin/env bash
# Checks formatting and lints. clippy-driver replaces the compiler for our own crates, as in all targets of the
# Makefile; `cargo clippy` would check every dependency again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v clippy-driver >/dev/null || { echo "lint: clippy is missing: run rustup component add clippy" >&2; exit 1; }
cargo fmt --all --check
cargo fmt --manifest-path bench/clients/Cargo.toml --check
output=$(mktemp)
trap 'rm -f "$output"' EXIT
RUSTC_WORKSPACE_WRAPPER=clippy-driver cargo build --release --workspace --locked --features s3migrate/cluster --all-targets 2>&1 | tee "$output"
# Cargo also repeats the warnings of crates that it did not rebuild.
if grep -q '^warning' "$output"; then
	echo "lint: there are warnings" >&2
	exit 1
fi
for script in scripts/*.sh kind-tests/cluster/*.sh kind-tests/services/*.sh bench/harness/*.sh .ci/run; do bash -n "$script"; done
