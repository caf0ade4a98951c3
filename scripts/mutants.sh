#!/usr/bin/env bash
# Builds the engine with its mutants and checks that the tests detect each of them. Only the crates of this repository
# are compiled with the flag; the dependencies are shared with every other build.
# PLANTED_PACKAGES="-p migration-engine" builds less in a fresh build directory.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/rustc-mutants.sh"
export RUSTC_WORKSPACE_WRAPPER
read -ra packages <<<"${PLANTED_PACKAGES:---workspace}"

exec cargo test --release --locked "${packages[@]}" --test engine mutants:: -- --nocapture
