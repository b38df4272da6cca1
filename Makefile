# Sluice. "make" or "make help" lists the targets.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
GO          ?= go
FUZZTIME    ?= 10s

# Tests that skip on purpose on every machine. Any other skip fails under CI=true.
SKIPS_ALLOWED := TestMemory.*/restart

.DEFAULT_GOAL := help
.PHONY: help build run test check bench bench-http fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: GO=$(GO)  FUZZTIME=$(FUZZTIME) (each fuzz target)  CI=true (a skipped test is a failure)"

build: ## build bin/sluice
	CGO_ENABLED=0 $(GO) build -trimpath  -o bin/sluice ./cmd/sluice

run: ## build, start a gateway with a demo route and show a request; Ctrl-C stops it
	scripts/run-demo

test: ## install what tests need, then vet and every test, with and without the race detector
	scripts/install-test-deps
	$(GO) vet ./...
	@mkdir -p .cache
	@echo "$(GO) test ./..."
	@$(GO) test -v ./... >.cache/test.log 2>&1 || { grep -vE '^(=== | *--- PASS|PASS$$)' .cache/test.log; exit 1; }
	@grep -E '^ok' .cache/test.log
	@if grep -E '^ *--- SKIP' .cache/test.log | grep -vE '$(SKIPS_ALLOWED)' >.cache/skipped; then \
		echo "skipped (reasons in .cache/test.log):"; cat .cache/skipped; \
		if [ "$${CI:-}" = true ]; then echo "skipped tests are failures under CI=true"; exit 1; fi; \
	fi
	$(GO) test -race ./...

check: ## gofmt, vet, staticcheck, generated files up to date, fast tests
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
		if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@command -v clang-14 >/dev/null && command -v llvm-strip-14 >/dev/null || scripts/install-test-deps
	@if git grep -qE '^//go:generate ' -- '*.go'; then \
		mkdir -p .cache; echo "$(GO) generate ./..."; \
		git diff >.cache/before.diff; $(GO) generate ./...; git diff >.cache/after.diff; \
		cmp -s .cache/before.diff .cache/after.diff || \
			{ echo "generated files are out of date; go generate changed:"; git diff --stat; exit 1; }; \
	fi
	$(GO) test -short ./...

bench: ## Go benchmarks of every package
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-http: ## CPU per proxied request beside nginx and HAProxy, written to benchmarks/results
	scripts/install-test-deps
	$(GO) run ./benchmarks/http

fuzz: ## every fuzz target for FUZZTIME
	@git grep -hE --full-name --heading --break '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go' | \
	awk '/_test\.go$$/ { dir = $$0; sub("/[^/]*$$", "", dir); next } \
	     /^func / { name = $$2; sub("\\(.*", "", name); print dir, name }' | \
	while read -r dir name; do \
		scripts/fuzz-one "$$dir" "$$name" $(FUZZTIME) </dev/null; \
	done

clean: ## remove what the other targets built
	rm -rf bin .cache
