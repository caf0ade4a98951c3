#!/usr/bin/env bash
# Builds the engine with its deliberate bugs and shows that the tests find each of them. Only the crates of this
# repository are compiled with the switch; the dependencies are those of every other build.
# PLANTED_PACKAGES="-p migration-engine" builds less where nothing is built yet.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/rustc-mutants.sh"
export RUSTC_WORKSPACE_WRAPPER
read -ra packages <<<"${PLANTED_PACKAGES:---workspace}"

exec cargo test --release --locked "${packages[@]}" --test engine mutants:: -- --nocapture
