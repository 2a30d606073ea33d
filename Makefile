# `make` alone lists the targets.

SHELL := /bin/sh
CARGO ?= cargo
DOCKER ?= docker
IMAGE ?= ingress-acme:0.1.0
# Options for `make demo`, for example: make demo ARGS="--ingresses 5 --keep"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test bench image clean-control-plane

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## the whole system in one process, on a simulated world: a storm, a rate limit, a crash, a renewal
	$(CARGO) run --locked --package ingress-acme -- demo $(ARGS)

# The tests come last, so that cargo's own result lines end the output.
test: ## format, lints, licences and advisories (where cargo-deny is installed), all tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check"; $(CARGO) deny check; \
	else \
		echo "note: cargo-deny is not installed: licences, bans and advisories (deny.toml) are not checked"; \
	fi
	$(CARGO) test --locked --workspace --all-features

# The operator is measured as the image has it, which is built without the simulated world.
bench: ## measure the goals of the project and print them as one table (about 30 minutes with the builds)
	$(CARGO) build --locked --release --no-default-features --bin ingress-acme --target-dir target/image
	$(CARGO) build --locked --release --example bare_loop
	$(CARGO) bench --locked --bench dedup --bench issuance
	INGRESS_ACME_OPERATOR=target/image/release/ingress-acme $(CARGO) bench --locked --bench goals

image: ## container image; IMAGE=name:tag to name it
	$(DOCKER) build --tag $(IMAGE) .

clean-control-plane: ## remove the built control plane; the next demo or test builds it again
	rm -rf target/control-plane
