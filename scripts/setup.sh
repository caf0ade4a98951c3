#!/usr/bin/env bash
# Installs what building and testing requires on Debian and Ubuntu; elsewhere names what is missing. Does nothing if
# everything is installed. Arguments are further commands, each of the package of its name.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); } # command, Debian package
need cc gcc
need strip binutils
need curl curl
need git git
need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
for command in "$@"; do need "$command" "$command"; done

if [ ${#missing[@]} -gt 0 ]; then
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		echo "setup: installing ${missing[*]}"
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	else
		echo "setup: install these packages manually (Debian names): ${missing[*]}" >&2
		exit 1
	fi
fi

if ! command -v cargo >/dev/null; then
	echo "setup: Rust is missing: $(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/../rust-toolchain.toml"), install it with rustup, see https://rustup.rs" >&2
	exit 1
fi
cargo --version >/dev/null || { echo "setup: the toolchain of rust-toolchain.toml is not installed: run rustup toolchain install" >&2; exit 1; }
