SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One build directory for all checkouts, so that a fresh one does not compile the dependencies again.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/s3-migration-operator/target
CLUSTER := bash kind-tests/cluster/cluster.sh
# One selection in one profile for programs, tests and lints: another one would give the dependencies other features and
# compile them all again. clippy-driver compiles as rustc does and lints on the way, so that lints cost no build.
CARGO_FLAGS := --release --workspace --locked
export RUSTC_WORKSPACE_WRAPPER := clippy-driver

.PHONY: help setup programs build lint unit mutants generate check-generated images test smoke e2e wire scan-bench scan-peers demo-cluster demo-clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: ## Install what building and testing needs (Debian, Ubuntu), or say what is missing
	@bash scripts/setup.sh

programs: setup ## Build the programs alone
	cargo build $(CARGO_FLAGS) --bins

build: setup ## Build all programs, and all tests
	cargo build $(CARGO_FLAGS) --all-targets

lint: setup ## Formatting and lints, without compiling the dependencies again
	bash scripts/lint.sh

unit: setup ## Tests that need no cluster
	bash kind-tests/services/venv.sh >/dev/null
	cargo test $(CARGO_FLAGS)
	cd kind-tests/checker && "$$(bash ../services/venv.sh)/bin/python" -m unittest

mutants: setup ## Activate deliberate bugs in the engine, one by one: each must turn the tests red
	bash scripts/mutants.sh

generate: programs ## Write the generated files: crds/ and the chart's copy
	bash scripts/generate.sh

check-generated: programs
	bash scripts/generate.sh --check

images: programs ## Build the images and load them into the cluster
	$(CLUSTER) up
	bash kind-tests/cluster/images.sh

smoke: programs ## A whole job on a cluster, in a few minutes
	bash scripts/cluster-tests.sh smoke

test: lint unit mutants check-generated ## All tests that need no cluster

e2e: programs ## The long tests on a cluster, written to kind-tests/RESULTS.md (CASES=name: only these)
	bash scripts/cluster-tests.sh e2e $(CASES)

wire: programs ## The programs on real services and on a bad wire, written to kind-tests/WIRE.md (CASES=name: only these)
	bash scripts/wire-tests.sh $(CASES)

scan-bench: setup ## What a scan of 10 million keys costs, written to bench/SCAN.md (HUGE=1: and of 100 million)
	cargo test $(CARGO_FLAGS) --bench scan -- $(if $(HUGE),huge) | tee bench/SCAN.md

scan-peers: programs ## Finding the differences of a million keys, here and with peers, written to bench/PEERS.md (KEYS=n, ROUNDS=n)
	"$$(bash kind-tests/services/venv.sh)/bin/python" bench/peers/peers.py $(if $(KEYS),--keys $(KEYS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		--programs "$$CARGO_TARGET_DIR/release" --write bench/PEERS.md

demo-cluster: programs ## From nothing to a finished migration of real files on a cluster of this machine
	bash scripts/install.sh
	eval "$$($(CLUSTER) env)"; "$$CARGO_TARGET_DIR/release/kind-tests" demo

demo-clean: ## Take away the demo's cluster and services
	if [ -x "$$CARGO_TARGET_DIR/release/kind-tests" ]; then "$$CARGO_TARGET_DIR/release/kind-tests" down; fi
	$(CLUSTER) down
