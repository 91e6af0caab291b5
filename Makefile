# Everything a developer runs. `make` alone lists it. Needs Rust, Go, a C compiler and bash.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# What is built stays outside of the checkout: a fresh clone starts warm, and nothing of it gets into an image.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/port-dora-controller
CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_TARGET_DIR

VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
CHART := charts/port-dora-controller
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(CACHE)/tools/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny

# Builds what is made from Go modules. It is needed first, so it is built alone, but with the features that its
# dependencies have in all of the named packages: they are compiled once.
DEMO_PACKAGES := --package port-dora-controller --package demo --package programs
BUILD_PROGRAMS := "$(CARGO_TARGET_DIR)/debug/build-programs"

# Two for each core: the tests on a cluster wait half of the time. More would only make each of them slower.
TEST_THREADS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

CONTAINER_TOOL ?= docker
IMAGE ?= port-dora-controller:$(VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## the whole way on a real local cluster, with a stand-in for Port: no account needed (KEEP=1: until Ctrl-C)
	cargo build $(DEMO_PACKAGES) --bin build-programs
	@$(BUILD_PROGRAMS) cluster -- cargo build $(DEMO_PACKAGES) >/dev/null
	@"$(CARGO_TARGET_DIR)/debug/demo" $(if $(KEEP),--keep)

.PHONY: test
test: test-build ## all tests, also those on a real local cluster (TEST_FLAGS="…" goes to cargo test)
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace $(TEST_FLAGS)

.PHONY: test-build
test-build: ## build what the tests need: programs in Go and test binaries, side by side
	cargo build --workspace --bin build-programs
	@$(BUILD_PROGRAMS) tests -- cargo test --no-run --workspace $(TEST_FLAGS) >/dev/null

# The test harness tells times only with an option that isn't stable: it looks at this variable when it runs.
.PHONY: test-times
test-times: test-build ## all tests, and then the 25 slowest of them with their times
	@times=$$(mktemp); trap 'rm -f "$$times"' EXIT; \
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --lib --bins --tests $(TEST_FLAGS) \
		--config 'target."cfg(unix)".runner=["env", "RUSTC_BOOTSTRAP=1"]' -- -Z unstable-options --report-time | tee "$$times"; \
	sed -n 's/^test \(.*\) \.\.\. .*<\(.*\)s>$$/\2 \1/p' "$$times" | sort -rn | head -n 25

.PHONY: soak
soak: test-build ## half an hour of everything that could stop the controller (SOAK_MINUTES, SOAK_RECORDS, SOAK_INCIDENTS, SOAK_SEED)
	SOAK_MINUTES=$${SOAK_MINUTES:-30} SOAK_RECORDS=$${SOAK_RECORDS:-2000} SOAK_INCIDENTS=$${SOAK_INCIDENTS:-1000} \
		cargo test --package port-dora-controller --test controller -- --nocapture soak

.PHONY: bench
bench: cluster-programs ## memory and latency of the release binary on a real local cluster (BENCH_FLAGS="--help" lists the flags)
	cargo build --release --package port-dora-controller
	cargo run --release --package bench -- $(BENCH_FLAGS)

.PHONY: check
check: check-format check-lints check-walls check-docs check-crds check-chart check-dependencies ## format, lints, walls between rooms, docs, generated files, chart, dependencies

.PHONY: check-format
check-format:
	cargo fmt --all --check

# --locked: a Cargo.lock that doesn't fit the manifests fails here, instead of being rewritten.
.PHONY: check-lints
check-lints:
	cargo clippy --locked --workspace --all-targets -- -D warnings

# A room of src/ uses only those above it in docs/architecture.md, and the pure core depends on neither kube nor tokio.
.PHONY: check-walls
check-walls:
	cargo test --package port-dora-controller --test walls
	@if cargo tree --package rollout --edges normal --prefix none | grep -E '^(kube|k8s-openapi|tokio)'; then \
		echo "crates/rollout is pure: remove the dependencies above from it." >&2; exit 1; \
	fi

.PHONY: check-docs
check-docs:
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace

.PHONY: check-crds
check-crds:
	@generated=$$(mktemp -d); trap 'rm -rf "$$generated"' EXIT; \
	cargo run --package port-dora-controller -- crds --directory "$$generated"; \
	for folder in crds $(CHART)/files/crds; do \
		diff -ru "$$folder" "$$generated" || { echo "$$folder differs from the types in src/resources: run 'make crds' and commit the result." >&2; exit 1; }; \
	done

.PHONY: check-chart
check-chart:
	@grep -qxF 'appVersion: "$(VERSION)"' $(CHART)/Chart.yaml || { echo "appVersion in $(CHART)/Chart.yaml must be $(VERSION), the version in Cargo.toml." >&2; exit 1; }
	cargo build --workspace --bin build-programs
	@programs=$$($(BUILD_PROGRAMS) helm); set -x; $(CHART)/ci/check "$$programs/helm"

# Licences, bans and sources are read from what cargo has. The advisories are a database on the internet: where it is out
# of reach they are skipped, loudly, unless CI_ADVISORIES=1 asks for them.
.PHONY: check-dependencies
check-dependencies: $(CARGO_DENY)
	$(CARGO_DENY) --locked check --hide-inclusion-graph licenses bans sources
	@if GIT_TERMINAL_PROMPT=0 timeout 120 $(CARGO_DENY) --locked fetch db; then \
		$(CARGO_DENY) --locked check --disable-fetch advisories; \
	elif [ "$${CI_ADVISORIES:-}" = 1 ]; then \
		echo "The advisory database can't be reached, and CI_ADVISORIES=1 asks for it." >&2; exit 1; \
	else \
		echo "SKIPPED: the advisories, since their database can't be reached from here. CI_ADVISORIES=1 makes that a failure." >&2; \
	fi

.PHONY: fmt
fmt: ## format the code
	cargo fmt --all

.PHONY: crds
crds: ## generate the custom resource definitions from the types in src/resources
	@generated=$$(mktemp -d); trap 'rm -rf "$$generated"' EXIT; \
	cargo run --package port-dora-controller -- crds --directory "$$generated"; \
	for folder in crds $(CHART)/files/crds; do \
		mkdir -p "$$folder"; rm -f "$$folder"/*.yaml; cp "$$generated"/*.yaml "$$folder"; \
	done

.PHONY: cluster-programs
cluster-programs: ## build the local cluster's programs: about 7 minutes on 2 cores the first time, then kept in the cache
	cargo build --workspace --bin build-programs
	@$(BUILD_PROGRAMS) cluster >/dev/null

.PHONY: image
image: ## build the container image (CONTAINER_TOOL=docker, IMAGE=name:tag)
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) --tag $(IMAGE) .

# Built without the optimisation that it doesn't need, and outside of CARGO_TARGET_DIR, where it would stay.
$(CARGO_DENY):
	env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo install cargo-deny --locked --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_ROOT)
