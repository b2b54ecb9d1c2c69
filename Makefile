# `make` alone prints this list. Everything longer than a line is in scripts/.

DATA ?= $(CURDIR)/.landward
export DATA
# One way to compile, so that builds, tests and checks share what is compiled.
export CGO_ENABLED = 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
.PHONY: help build up down purge test lint fmt bench bench-edge

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo '  DATA=DIR        the data folder of up, down and purge (now $(DATA))'

build: ## build bin/landward
	go build -ldflags '-s -w -X landward/internal/server.version=$(VERSION)' -o bin/landward ./cmd/landward

up: ## install what is missing, start Landward, deploy examples/hello by git push
	@scripts/setup run
	@$(MAKE) --no-print-directory build
	@scripts/up

down: ## stop Landward; its data stays
	@scripts/down

purge: ## stop Landward and remove everything that it made
	@scripts/purge

test: ## install what the tests need, lint, and run every test
	@scripts/setup test
	@$(MAKE) --no-print-directory lint
	@go build -o bin/alltests ./scripts/alltests
	@bin/alltests

lint: ## formatting, vet, staticcheck, errcheck, shellcheck
	@scripts/lint

fmt: ## format the Go code
	gofmt -w cmd client internal scripts test examples

bench: ## install what the benchmarks compare with, run them, print the table
	@scripts/setup bench
	go run ./test/bench/proxy
	go test -tags bench -count=1 -v -timeout 60m ./test/bench/deploy

bench-edge: ## the edge against nginx, HAProxy, Caddy and Go's own proxy
	@scripts/setup bench
	go run ./test/bench/edge
