# Every target works on a clean checkout. SETUP=no forbids installing packages.
SHELL := /bin/sh
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BIN := bin
LINT := $(BIN)/golangci-lint
export CGO_ENABLED ?= 1

.PHONY: help setup setup-test build demo test race short fuzz bench soak lint fmt clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install what demo needs (PostgreSQL's binaries), by apt, saying so first
	@tools/setup.sh postgresql >&2

setup-test: ## install what test needs (PostgreSQL, Dovecot, a C compiler), by apt, saying so first
	@tools/setup.sh postgresql dovecot compiler

build: ## build bin/postroom, static
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/postroom ./cmd/postroom

demo: setup build ## run the daemon on sample servers and mail, with a database of its own, until Ctrl-C
	@$(BIN)/postroom demo $(DEMO)

test: setup-test ## all tests, on a real PostgreSQL and a real Dovecot (under 10 minutes on 2 cores)
	$(GO) test -race -shuffle=on -timeout 15m ./...

race: test ## the same: tests always run with the race detector

short: setup-test ## the tests without the race detector, for the inner loop
	$(GO) test -shuffle=on ./...

FUZZTIME ?= 60s
fuzz: ## every fuzz target for FUZZTIME (60s)
	@tools/fuzz.sh $(FUZZTIME)

bench: setup-test ## Go benchmarks of the hot functions, with allocations
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...

SOAK ?= 30m
soak: setup-test ## the long form of the crash tests, for SOAK (30m)
	POSTROOM_SOAK=$(SOAK) $(GO) test -race -timeout 0 -run 'Crash|Soak' -v ./internal/e2e/...

lint: $(LINT) ## all linters, with the arrows of docs/architecture.md
	$(LINT) run --allow-parallel-runners ./...

$(LINT): tools/go.mod tools/go.sum
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -modfile=tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

fmt: $(LINT) ## format all code
	$(LINT) fmt ./...

clean: ## remove what was built
	rm -rf $(BIN)
