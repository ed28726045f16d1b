# fieldkit: `make` lists what can be made. All set-up is done here: a machine needs Go and make; on Debian and
# Ubuntu the rest is installed (Chromium, PostgreSQL, Docker), elsewhere the tests that need it say they are skipped.

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
test: chromium postgres ## run every test; those of the stack on a Docker engine of their own where none answers
	@go vet $(PACKAGES)
	@if command -v "$$(go env CC)" > /dev/null; then \
	   echo 'with the race detector: $(RACE)'; \
	   CGO_ENABLED=1 go test -race -short -timeout 30m $(RACE); \
	 else echo 'no C compiler here, so without the race detector'; fi
	@.tools/engine run go test -timeout 45m $(PACKAGES)

.PHONY: images
images: ## make the stand-in images of PostgreSQL and DHIS2 in the engine at DOCKER_HOST
	@.tools/images/build

.PHONY: lint
lint: ## check formatting, import directions and what the linters know
	@$(TOOL) golangci-lint run $(PACKAGES)

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is called; accepted ones are in .tools/vulnerabilities
	@.tools/vuln

.PHONY: bench
bench: ## measure speed and memory against their bars; FIELDKIT_BENCH_CENTRAL=url FIELDKIT_BENCH_LOCAL=url on real servers
	@.tools/bench

.PHONY: soak
soak: ## run the long tests: full numbers, faults, memory
	@FIELDKIT_SOAK=1 .tools/engine run go test -count 1 -timeout 12h -v -run 'Soak|TestReconcileKilled' $(PACKAGES)

.PHONY: acceptance
acceptance: ## run the whole loop on two servers: CENTRAL=url LOCAL=url [LOCAL_DATABASE=url]
	@if [ -z '$(CENTRAL)' ] || [ -z '$(LOCAL)' ]; then \
	   echo 'which servers? make acceptance CENTRAL=https://... LOCAL=http://...' >&2; exit 2; fi
	@FIELDKIT_ACCEPTANCE_CENTRAL='$(CENTRAL)' FIELDKIT_ACCEPTANCE_LOCAL='$(LOCAL)' \
	 FIELDKIT_ACCEPTANCE_LOCAL_DATABASE='$(LOCAL_DATABASE)' \
	 go test -count 1 -timeout 30m -v -run '^TestAcceptance' ./orchestrator/...

.PHONY: clone
clone: ## prove a prepare by a script that knows nothing of fieldkit, on two fresh servers: CENTRAL=url LOCAL=url [LOCAL_DATABASE=url]; else on simulated ones
	@FIELDKIT_ACCEPTANCE_CENTRAL='$(CENTRAL)' FIELDKIT_ACCEPTANCE_LOCAL='$(LOCAL)' \
	 FIELDKIT_ACCEPTANCE_LOCAL_DATABASE='$(LOCAL_DATABASE)' \
	 go test -count 1 -timeout 60m -v -run '^TestClone$$' ./orchestrator/...

.PHONY: matrix
matrix: ## play every kind of change on two servers, fresh ones: CENTRAL=url LOCAL=url [LOCAL_DATABASE=url]; else on simulated ones
	@FIELDKIT_ACCEPTANCE_CENTRAL='$(CENTRAL)' FIELDKIT_ACCEPTANCE_LOCAL='$(LOCAL)' \
	 FIELDKIT_ACCEPTANCE_LOCAL_DATABASE='$(LOCAL_DATABASE)' \
	 go test -count 1 -timeout 30m -v -run '^TestMatrix$$' ./orchestrator

# The browser that the report's test opens it in, and the database that some tests need.
.PHONY: chromium postgres
chromium:
	@.tools/chromium
postgres:
	@.tools/postgres || echo 'the tests that need it are skipped' >&2

.PHONY: docs
docs: ## build the documentation's site, for reading offline, in bin/docs
	@go test ./cmd/fieldkit -count 1 -run TestReference -update
	@.tools/docs

.PHONY: ansible
ansible: ## apply the role in ansible/ to a clean Debian system, twice, and look at what came of it
	@.tools/ansible
