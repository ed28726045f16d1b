# fieldkit: `make` lists what can be made. All set-up is done here: a machine needs Go, make and, for the
# browser test, apt or a Chromium.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
TOOL       := go tool -modfile=.tools/go.mod
PACKAGES   := ./...
# What has neither an engine nor a browser, so what the race detector runs over.
RACE       := ./dhis2api/... ./snapshot/... ./orchestrator/...

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: build ## play a whole trip on this machine: two servers, a clinic day, the report
	@bin/fieldkit demo

.PHONY: build
build: ## build bin/fieldkit and bin/dhis2sim
	@go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: test
test: chromium ## run every test
	@go vet $(PACKAGES)
	@if command -v "$$(go env CC)" > /dev/null; then \
	   echo 'with the race detector: $(RACE)'; \
	   CGO_ENABLED=1 go test -race -short $(RACE); \
	 else echo 'no C compiler here, so without the race detector'; fi
	@go test -timeout 9m $(PACKAGES)

.PHONY: lint
lint: ## check formatting, import directions and what the linters know
	@$(TOOL) golangci-lint run $(PACKAGES)

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is called; accepted ones are in .tools/vulnerabilities
	@.tools/vuln

.PHONY: bench
bench: ## measure what has a benchmark
	@go test -run '^$$' -bench . -benchmem $(PACKAGES)

.PHONY: soak
soak: ## run the long tests: full numbers, faults, memory
	@FIELDKIT_SOAK=1 go test -count 1 -timeout 4h -v -run Soak $(PACKAGES)

.PHONY: acceptance
acceptance: ## run the whole loop on two servers: CENTRAL=url LOCAL=url [LOCAL_DATABASE=url]
	@if [ -z '$(CENTRAL)' ] || [ -z '$(LOCAL)' ]; then \
	   echo 'which servers? make acceptance CENTRAL=https://... LOCAL=http://...' >&2; exit 2; fi
	@FIELDKIT_ACCEPTANCE_CENTRAL='$(CENTRAL)' FIELDKIT_ACCEPTANCE_LOCAL='$(LOCAL)' \
	 FIELDKIT_ACCEPTANCE_LOCAL_DATABASE='$(LOCAL_DATABASE)' \
	 go test -count 1 -timeout 30m -v -run '^TestAcceptance' ./orchestrator/...

# The browser that the report's test opens it in.
.PHONY: chromium
chromium:
	@.tools/chromium
