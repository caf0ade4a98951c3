#!/usr/bin/env bash
# The compiler for the crates of this repository, with their deliberate bugs compiled in.
exec "$@" --cfg mutants
