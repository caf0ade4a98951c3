SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One build directory for all checkouts, so that a fresh checkout does not recompile the dependencies.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/s3-migration-operator/target
CLUSTER := bash kind-tests/cluster/cluster.sh
# Programs, tests and lints use the same packages and profile: any other selection would give the dependencies other
# features and recompile them all. clippy-driver compiles like rustc and lints at the same time, so lints need no build.
DEMO_FLAGS := --release --workspace --locked
# The feature adds no dependency that the operator does not have, so that only s3migrate itself is compiled for each.
CARGO_FLAGS := $(DEMO_FLAGS) --features s3migrate/cluster
export RUSTC_WORKSPACE_WRAPPER := clippy-driver

.PHONY: help demo picture setup programs dist build lint unit metrics-check instructions mutants ui-check generate check-generated images test smoke e2e wire local scan-bench scan-peers bench bench-clients copy-peers demo-cluster demo-clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: ## Install build and test requirements (Debian, Ubuntu), or name the missing ones
	@bash scripts/setup.sh

demo: setup ## Show a migration between two S3 servers on this machine, which needs nothing else
	cargo build $(DEMO_FLAGS) --bin s3migrate
	"$$CARGO_TARGET_DIR/release/s3migrate" demo

programs: setup ## Build the programs alone
	cargo build $(CARGO_FLAGS) --bins

dist: programs ## Pack the programs for this architecture into dist/, with licences and bills of materials
	bash scripts/dist.sh

build: setup ## Build all programs and tests
	cargo build $(CARGO_FLAGS) --all-targets

lint: setup ## Check formatting and lints, without recompiling the dependencies
	bash scripts/lint.sh

unit: setup ## Run the tests that need no cluster
	bash kind-tests/services/venv.sh >/dev/null
	cargo test $(CARGO_FLAGS)
	cd kind-tests/checker && "$$(bash ../services/venv.sh)/bin/python" -m unittest
	cd bench/harness && "$$(bash ../../kind-tests/services/venv.sh)/bin/python" -m unittest

instructions: setup ## Compare counts of instructions with bench/INSTRUCTIONS.md (ACCEPT=1: write it)
	@bash scripts/setup.sh valgrind
	cargo test $(CARGO_FLAGS) --bench instructions -- $(if $(ACCEPT),accept,check) "$(CURDIR)/bench/INSTRUCTIONS.md"

metrics-check: setup ## Have promtool check the metrics of all programs, and the chart's alerts; each has to fire once
	@command -v promtool >/dev/null || { echo "metrics-check: promtool is missing: install it (Debian: prometheus)" >&2; exit 1; }
	cargo test $(CARGO_FLAGS) --lib --bin operator --test monitoring -- --ignored promtool

ui-check: setup ## Check the web page in Chromium during a run, and take its pictures, docs/ui/ (needs chromium, Node.js)
	@for need in chromium node npm; do command -v $$need >/dev/null || { echo "ui-check: $$need is missing: install it" >&2; exit 1; }; done
	node --test kind-tests/ui/unit.test.mjs
	npm ci --silent --no-fund --no-audit --prefix kind-tests/ui
	cargo test $(CARGO_FLAGS) --test program -- --ignored --nocapture the_page_in_a_browser

mutants: setup ## Run the mutants: each deliberate bug in the engine must fail a test
	bash scripts/mutants.sh

generate: programs ## Write the generated files: crds/ and the chart's copy
	bash scripts/generate.sh

check-generated: programs
	bash scripts/generate.sh --check

images: programs ## Build the images and load them into the cluster
	$(CLUSTER) up
	bash kind-tests/cluster/images.sh

smoke: programs ## Run a whole job on a cluster, in a few minutes
	bash scripts/cluster-tests.sh smoke

test: lint unit instructions mutants check-generated ## Run all tests that need no cluster

e2e: programs ## Run the long tests on a cluster; writes kind-tests/RESULTS.md (CASES=name: only these)
	@bash scripts/setup.sh prometheus
	bash scripts/cluster-tests.sh e2e $(CASES)

wire: programs ## Run the programs on real services over a faulty network; writes kind-tests/WIRE.md (CASES=name: only these)
	bash scripts/wire-tests.sh $(CASES)

local: programs ## Run s3migrate on real services; writes kind-tests/LOCAL.md (CASES=name: only these)
	bash scripts/local-tests.sh $(CASES)

scan-bench: setup ## Measure scans of up to 10 million keys; writes bench/SCAN.md (HUGE=1: also 100 million)
	cargo test $(CARGO_FLAGS) --bench scan -- $(if $(HUGE),huge) | tee bench/SCAN.md

scan-peers: programs ## Compare the scan of a million keys with peers; writes bench/PEERS.md (KEYS=n, ROUNDS=n)
	"$$(bash kind-tests/services/venv.sh)/bin/python" bench/harness/peers.py $(if $(KEYS),--keys $(KEYS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		--programs "$$CARGO_TARGET_DIR/release" --write bench/PEERS.md

bench: programs ## Compare copies with peers; writes bench/results/ (CASES=name, QUICK=1, SIZE=full, RESUME=1, ROUNDS=n, ONLY=rclone)
	"$$(bash kind-tests/services/venv.sh)/bin/python" bench/harness/bench.py $(if $(CASES),--cases $(CASES)) \
		--size $(if $(QUICK),quick,$(or $(SIZE),standard)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(RESUME),--resume) \
		$(if $(ONLY),--only $(ONLY)) $(if $(RESULTS),--results $(RESULTS)) --programs "$$CARGO_TARGET_DIR/release"

bench-clients: programs ## Compare ways to send S3's requests; writes bench/CLIENTS.md (ROUNDS=n)
	@bash scripts/setup.sh cmake clang
	cargo build --release --manifest-path bench/clients/Cargo.toml --target-dir "$$CARGO_TARGET_DIR/clients"
	"$$(bash kind-tests/services/venv.sh)/bin/python" bench/harness/clients.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		--program "$$CARGO_TARGET_DIR/clients/release/bench-clients" --programs "$$CARGO_TARGET_DIR/release" \
		--write bench/CLIENTS.md

copy-peers: ## Compare copies of small and of large objects alone, as make bench does
	$(MAKE) bench CASES="a-gateway c-gateway"

demo-cluster: programs ## Migrate real files on a cluster on this machine, from scratch
	bash scripts/install.sh
	eval "$$($(CLUSTER) env)"; "$$CARGO_TARGET_DIR/release/kind-tests" demo

picture: demo ## Make the README's pictures of a real run of the demo again
	bash scripts/picture.sh "$$CARGO_TARGET_DIR/release/s3migrate"

demo-clean: ## Remove the demo's cluster and services
	if [ -x "$$CARGO_TARGET_DIR/release/kind-tests" ]; then "$$CARGO_TARGET_DIR/release/kind-tests" down; fi
	$(CLUSTER) down
