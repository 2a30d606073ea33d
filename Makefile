# `make` without a target lists the targets.

SHELL := /bin/sh
CARGO ?= cargo
DOCKER ?= docker
IMAGE ?= ingress-acme:0.1.0
# Flags of `ingress-acme demo`, for example: make demo ARGS="--ingresses 5 --keep"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-1.34 doc program bench seeds mutants soak worst-tenant test-rollback data-planes page-driver page-check image image-check release clean-control-plane

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## run the whole system in one process, in a simulated world (ARGS="--keep" leaves it up)
	$(CARGO) run --locked --package ingress-acme -- demo $(ARGS)

# Tests run last, so that the output ends with cargo's result lines. They need Go for the control plane.
test: ## check format, lints, API documentation and dependencies (with cargo-deny, if installed), then run all tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check"; $(CARGO) deny check; \
	else \
		echo "note: cargo-deny is not installed: licences, bans and advisories (deny.toml) are not checked"; \
	fi
	$(CARGO) test --locked --workspace --all-features

# The variable chooses the tool module tests/control-plane/kubernetes-1.34, with binaries of its own.
test-1.34: ## run the tests on a real API server against Kubernetes 1.34 (built once, about 10 minutes)
	KUBERNETES=1.34 $(CARGO) test --locked --test cluster --test conformance_kubernetes
	KUBERNETES=1.34 $(CARGO) test --locked --package ingress-acme-control-plane

doc: ## build the API documentation of all crates into target/doc; a warning is an error
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --all-features

# The measured operator is built as in the image: without the simulated world, and linked statically.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
PROGRAM = $(CURDIR)/target/static/$(HOST)/release/ingress-acme

program:
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --release --no-default-features \
		--bin ingress-acme --target $(HOST) --target-dir target/static

bench: program ## measure the goals of docs/performance.md and print them as a table (half an hour, with its builds)
	$(CARGO) build --locked --release --example bare_loop
	$(CARGO) bench --locked --bench dedup --bench issuance
	INGRESS_ACME_OPERATOR=$(PROGRAM) $(CARGO) bench --locked --bench goals

# Seeds from 0 on; `make test` plays fewer. A failure names its seed, and SEED=17 plays that one alone.
SEEDS ?= 1000
seeds: ## play random cases of edits and faults on fakes and on the simulated world (SEEDS=1000; minutes)
	SEEDS=$(SEEDS) $(CARGO) test --locked --profile bench --package ingress-acme-actors --all-features --test invariants
	SEEDS=$(SEEDS) $(CARGO) test --locked --profile bench --test seeds

# VmRSS is sampled; the operator is the program of the tests.
SOAK_MINUTES ?= 30
soak: ## run the operator under edits, deletions, renewals and faults; its memory stays flat (30 minutes)
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --locked --test simulated soak -- --ignored --nocapture

# Stopped at any moment, the next run goes on: results are in target/mutants/results.tsv, the report in
# docs/mutants.txt. PASSES="rules alone flows" chooses the passes, SHARD=0/4 every fourth mutant.
mutants: ## mutation tests of the rules: a test has to fail on each small change (needs cargo-mutants)
	@$(CARGO) mutants --version || { echo "install the tool: cargo install --locked cargo-mutants"; exit 1; }
	$(CARGO) run --locked --package ingress-acme-mutants

# The operator is the image's: a debug build takes ten times the CPU time for an Ingress of 1 MiB.
worst-tenant: program ## play the worst tenant at full size against the image's program (about 10 minutes)
	WORST_TENANT=full INGRESS_ACME_OPERATOR=$(PROGRAM) \
		$(CARGO) test --locked --test cluster worst_tenant

# The older release, the first one that was installed anywhere. Its sources come out of git's history.
ROLLBACK := 769a018

test-rollback: ## show that release 0.1.0 reads this one's journal, and this one what it wrote (needs git history)
	@if ! git cat-file -e $(ROLLBACK) 2>/dev/null; then \
		echo "note: commit $(ROLLBACK) is not in this repository's history, so no rollback is tested"; exit 0; \
	fi; set -ex; \
	rm -rf target/rollback/tree && mkdir -p target/rollback/tree; \
	git archive $(ROLLBACK) | tar -x -C target/rollback/tree; \
	$(CARGO) build --locked --bin ingress-acme \
		--manifest-path target/rollback/tree/Cargo.toml --target-dir target/rollback; \
	ROLLBACK_OPERATOR=$(CURDIR)/target/rollback/debug/ingress-acme \
		$(CARGO) test --locked --test cluster rollback

# `make test` runs Contour's test only: Traefik is built for minutes.
data-planes: ## run the operator behind real ingress controllers: Contour with Envoy, and Traefik (built once, minutes)
	$(CARGO) test --locked --test data_plane -- --include-ignored

page-driver: ## install the driver of the browser for the page's tests into target/page (needs node and npm)
	mkdir -p target/page && cp tests/page/package.json tests/page/package-lock.json tests/page/.npmrc target/page
	cd target/page && npm ci

# Debian's browser, as root or where it is there already; npm's packages by their hashes.
page-check: ## look at the status page in a real Chromium with axe-core; screenshots in target/page (needs node and npm)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	$(MAKE) page-driver
	CI=1 $(CARGO) test --locked --test simulated page:: -- --include-ignored

image: ## build the container image (IMAGE=name:tag names it)
	$(DOCKER) build --tag $(IMAGE) .

# `make test` starts the program of the tests from a root filesystem made of it and its libraries.
image-check: ## build the image with buildah on this machine's own files, check it and run it (as root; a release build)
	tests/image/build.sh
	IMAGE_ROOT=$(CURDIR)/target/image-check/root $(CARGO) test --locked --test cluster image::

# Where the files will be, and the targets; without one, that of this machine.
URL ?= https://releases.invalid/ingress-acme
TARGETS ?=
release: ## write archives, SBOMs, Krew manifest and SHA256SUMS to dist/ (URL=https://... TARGETS="...")
	release/build.sh $(URL) $(TARGETS)

clean-control-plane: ## delete the control plane built for the tests; the next `make test` or `make bench` rebuilds it
	rm -rf target/control-plane
