# Everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
PREFIX ?= /usr/local
LDFLAGS := -s -w -X clusterbackup/internal/version.version=$(VERSION) -X clusterbackup/internal/version.commit=$(COMMIT)
PLATFORMS := linux/amd64 linux/arm64 linux/arm linux/riscv64 darwin/amd64 darwin/arm64 \
	freebsd/amd64 openbsd/amd64 netbsd/amd64 illumos/amd64 dragonfly/amd64

# Nothing needs cgo, and what is built for use is what is tested.
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

##@ For users

.PHONY: build
build: ## Build bin/cbd and bin/cbctl.
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: demo
demo: setup build ## Four hosts on this machine back up a tree (SOURCE=dir), lose one host, restore; left running in ./.demo.
	@SOURCE='$(SOURCE)' hack/demo.sh start

.PHONY: demo-stop
demo-stop: ## End the demo's hosts and remove ./.demo.
	@hack/demo.sh stop

.PHONY: install
install: build ## Install the programs below PREFIX (/usr/local), and the systemd unit where there is systemd.
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 0755 bin/cbd bin/cbctl '$(DESTDIR)$(PREFIX)/bin/'
	if [ -d /run/systemd/system ] || [ -n '$(DESTDIR)' ]; then \
	  install -d '$(DESTDIR)/etc/systemd/system'; \
	  sed 's|/usr/local/bin|$(PREFIX)/bin|g' config/systemd/clusterbackup.service > '$(DESTDIR)/etc/systemd/system/clusterbackup.service'; \
	fi

.PHONY: setup
setup: ## Install what building and running need beyond Go and make (rsync).
	@hack/setup.sh rsync

##@ For developers

.PHONY: test
test: setup ## Run the everyday tests: every package, the programs end to end, a short simulation.
	$(GO) test -timeout 15m ./...
	cd transport/bench && $(GO) vet ./...

.PHONY: test-race
test-race: setup ## Run the tests of the concurrent packages under the race detector.
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./reconcile/... ./transport/... ./controllers/... ./internal/...

.PHONY: verify
verify: setup tools ## What CI runs: generated code, formatting, vet, lint, arrows, configuration, cross builds, tests, 200 simulated host-years.
	hack/verify.sh
	$(MAKE) cross
	$(MAKE) test
	$(MAKE) sim HOSTS=0 YEARS=200

.PHONY: generate
generate: tools ## Regenerate deepcopy code and the CRD schema.
	bin/tools/controller-gen object paths=./api/v1
	bin/tools/controller-gen crd paths=./api/v1 output:crd:dir=config/crd

.PHONY: lint
lint: tools ## Run golangci-lint.
	bin/tools/golangci-lint run ./...

.PHONY: tools
tools: ## Build the pinned tools into bin/tools.
	@mkdir -p bin/tools && $(GO) build -C hack/tools -o $(CURDIR)/bin/tools/ tool

.PHONY: cross
cross: ## Build for every platform, without cgo.
	@for p in $(PLATFORMS); do echo "build $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./... || exit 1; done

.PHONY: dist
dist: ## Build release archives for every platform into dist/.
	@rm -rf dist && mkdir -p dist
	@for p in $(PLATFORMS); do d=clusterbackup-$(VERSION)-$${p%/*}-$${p#*/}; mkdir -p dist/$$d; \
	  GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/$$d/ ./cmd/... && \
	  cp -r LICENSE README.md CHANGELOG.md config dist/$$d/ && tar -C dist -czf dist/$$d.tar.gz $$d && rm -r dist/$$d && echo dist/$$d.tar.gz || exit 1; done
	@cd dist && sha256sum *.tar.gz > SHA256SUMS

##@ Measurements and proof

.PHONY: bench
bench: setup build ## First backup, restore, scan, idle: ratios against rsync and find in the same run.
	hack/bench.sh

.PHONY: bench-transport
bench-transport: ## transport against raw TCP, net/rpc, gRPC, drpc, NATS, yamux.
	cd transport/bench && $(GO) run . -goals -frozen

.PHONY: bench-placement
bench-placement: ## Placement figures from the simulator, in virtual time.
	$(GO) test ./test/sim -run '^$$' -bench Placement -benchtime 1x -timeout 60m

SEED ?= 1
HOSTS ?= 5
YEARS ?= 200
.PHONY: sim
sim: ## Simulate: SEED=1 HOSTS=5 YEARS=200 (host-years); HOSTS=0: 3 to 8, by the seed.
	$(GO) test ./test/sim -count=1 -timeout 0 -run 'TestSim$$' -v -args -seed $(SEED) -hosts $(HOSTS) -years $(YEARS)

.PHONY: sim-long
sim-long: ## 10,000 host-years.
	$(MAKE) sim YEARS=10000

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin dist

.PHONY: help
help: ## Show this.
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z_-]+:.*##/ {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
