# Everything that is run by hand or by CI. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Without cgo the binary is static, and only soak needs a C compiler.
export CGO_ENABLED := 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/leastkey/leastkey/internal/app.version=$(VERSION)

# Suites that have a target of their own, so that `make test` runs none of them twice.
SUITES := /internal/testkit/(browser|clients|crash|hostile|reports|witness)$$

HOSTILE_SEEDS ?= 200
HOSTILE_FIRST ?= 1
FUZZTIME      ?= 60s
SEEDTIME      ?= 600
SOAKTIME      ?= 600

export FUZZTIME SEEDTIME

.PHONY: help build test deps unit witness crash hostile test-clients test-reports test-web missing lint bench fuzz seeds soak live clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## a static, stripped bin/leastkey
	go build -trimpath -ldflags "$(LDFLAGS)" -o bin/leastkey ./cmd/leastkey

test: deps unit witness crash hostile test-clients test-reports test-web missing ## everything that CI runs, but for lint

deps:
	@script/deps.sh

unit: ## unit tests and stories
	@packages=$$(go list ./... | grep -Ev '$(SUITES)') && go test -timeout 20m $$packages

witness: deps ## az, which nobody here wrote, looks at the local cloud
	@if command -v az >/dev/null; then script/suite.sh '' go test -count=1 -timeout 15m ./internal/testkit/witness; fi

crash: ## kill the program at every point, and resume
	@script/suite.sh crash go test -count=1 -timeout 20m -v ./internal/testkit/crash

hostile: ## lag, faults and cut connections, in virtual time (HOSTILE_SEEDS, HOSTILE_FIRST)
	@script/suite.sh hostile go test -count=1 -timeout 20m -v ./internal/testkit/hostile -seeds $(HOSTILE_SEEDS) -first $(HOSTILE_FIRST)

test-clients: deps ## az, curl, and the SDKs for Go, JavaScript and Python drive the local cloud
	@script/suite.sh clients go test -count=1 -timeout 20m -parallel 4 -v ./internal/testkit/clients

test-reports: deps ## Microsoft's validator reads our SARIF, and junitparser our JUnit
	@script/suite.sh '' go test -count=1 -timeout 10m ./internal/testkit/reports

test-web: deps ## chromium goes through the pages, axe-core judges them
	@script/suite.sh '' go test -count=1 -timeout 15m -parallel 2 ./internal/testkit/browser

missing:
	@script/deps.sh --skipped

lint: ## gofmt, vet on three systems, staticcheck
	@wrong=$$(gofmt -l .) && if [ -n "$$wrong" ]; then echo "gofmt -w is needed on:" && echo "$$wrong" && exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	go tool staticcheck ./...

bench: build ## the speed table, beside its targets
	go run ./internal/testkit/bench

fuzz: ## every fuzzer, one after the other, FUZZTIME each
	@script/fuzz.sh

seeds: ## hostile runs with new seeds for SEEDTIME seconds
	@script/seeds.sh

soak: ## real clients side by side on a hostile cloud with a race detector, SOAKTIME seconds; needs a C compiler
	@script/suite.sh soak go test -count=1 -timeout $$(($(SOAKTIME) + 1800))s -v ./internal/testkit/soak -seconds $(SOAKTIME) -race-build -programs

live: build ## a real tenant; needs LEASTKEY_LIVE_*, see script/live.sh
	@script/live.sh

clean: ## remove what was built
	rm -rf bin
