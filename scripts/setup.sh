#!/usr/bin/env bash
# Installs on Debian and Ubuntu what building and testing needs, and says elsewhere what is missing. Does nothing where
# all is there.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); } # command, Debian's package
need cc gcc
need strip binutils
need curl curl
need git git
need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		echo "setup: installing ${missing[*]}"
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	else
		echo "setup: missing, to be installed by hand (names are Debian's packages): ${missing[*]}" >&2
		exit 1
	fi
fi

if ! command -v cargo >/dev/null; then
	echo "setup: missing: Rust $(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/../rust-toolchain.toml"); install it with rustup, see https://rustup.rs" >&2
	exit 1
fi
cargo --version >/dev/null || { echo "setup: the toolchain of rust-toolchain.toml is not installed: run rustup toolchain install" >&2; exit 1; }
