#!/usr/bin/env bash
# Compiles the crates of this repository with their mutants.
exec "$@" --cfg mutants
