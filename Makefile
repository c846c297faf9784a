# Everything that CI does is a target here. `make test` needs nothing but Go; `make race` needs a C compiler as well.

GO       ?= go
FUZZTIME ?= 1m
# The linter lives in a module of its own, so that its dependencies stay out of ours.
STATICCHECK = $(GO) tool -modfile=tools/go.mod staticcheck

.PHONY: run build check test race fuzz bench interop lint install clean

## run: build bin/tidings and serve the demo on http://127.0.0.1:8080
run: build
	bin/tidings serve --demo

## build: bin/tidings, one static binary
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/tidings ./cmd/tidings

## install: the same into GOBIN
install:
	CGO_ENABLED=0 $(GO) install -trimpath ./cmd/tidings

## check: what to run before a commit
check: lint test

## test: all tests, under five minutes on two cores
test:
	$(GO) test ./...

## race: all tests under the race detector
race:
	$(GO) test -race -timeout 15m ./...

## fuzz: every fuzz target in turn, FUZZTIME each
fuzz:
	@set -eu; \
	grep -rHo --include='*_test.go' --exclude-dir=node_modules '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do \
		echo "== $${func#func } in $$(dirname "$$file"), $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null; \
	done

## bench: the measurements that doc/ cites, against a server built from this tree
bench:
	$(GO) run ./bench/run

## interop: foreign clients and servers; in CI they are installed first, elsewhere those that are absent are skipped by name.
## One package at a time, as two could give their servers the same port.
interop:
	if [ -n "$${CI:-}" ]; then interop/install.sh; fi
	$(GO) test -p 1 -count=1 -tags interop -timeout 25m ./interop/...

## lint: gofmt, go vet, staticcheck
lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w needed on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags interop ./...
	$(STATICCHECK) ./...

clean:
	rm -rf bin
