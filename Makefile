# What there is to do; `make` alone says it.

COMMIT   := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 5m
SOAKTIME ?= 10m
SOAKSEED ?= $(shell date +%s)
CRASHSTATES ?= 640
CRASHSEED ?= 1
BENCHFLAGS ?=
PREFIX   ?= /usr/local
DESTDIR  ?=
# mount(8) and umount(8) look for their helpers here and nowhere else.
HELPERDIR ?= /sbin
UNITDIR  ?= $(PREFIX)/lib/systemd/system
# What is built for: GOARCH (in the environment ARCH is the kernel's word for it, and none of
# Go's). Another machine's program goes by another name.
HOSTARCH := $(shell go env GOHOSTARCH)
TARGET   := $(or $(GOARCH),$(shell go env GOARCH))
BIN      = bin/ext2fuse$(if $(filter-out $(HOSTARCH),$(TARGET)),-$(TARGET))
# A Debian version begins with a digit, and a candidate's (v1.0-rc1) sorts before the release's.
DEBVERSION = $(shell echo '$(VERSION)' | sed -E 's/^v//; /^[0-9]*\./!s/^/0~git/; s/-(alpha|beta|pre|rc)/~\1/; s/-/+/g')
HELPERS  := mount.ext2fuse mount.fuse.ext2fuse umount.ext2fuse umount.fuse.ext2fuse umount.fuse
# The concurrency-sensitive packages: some bugs only show on one processor.
CONCURRENT = ./blockio/... ./cache/... ./mpage/... ./fs/...

# Building needs no git metadata (a tarball, somebody else's checkout).
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs=%,$(GOFLAGS))
# mke2fs and its kin are not on a plain user's PATH everywhere.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help
help: ## this list
	@awk -F ': .*## ' '/^[a-z\/.]+: .*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: ## install what building and testing need (Debian)
	@scripts/setup.sh

.PHONY: build
build: ## bin/ext2fuse, static (GOARCH)
	@mkdir -p bin
	CGO_ENABLED=0 GOARCH=$(TARGET) go build -trimpath -ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o $(BIN) ./cmd/ext2fuse

.PHONY: docs
docs: ## dist/ext2fuse.8 and dist/completions: manual page and completions, from the program's tables
	@$(MAKE) -s build GOARCH=$(HOSTARCH)
	@mkdir -p dist/completions
	bin/ext2fuse manpage >dist/ext2fuse.8
	bin/ext2fuse completion bash >dist/completions/ext2fuse.bash
	bin/ext2fuse completion zsh >dist/completions/_ext2fuse
	bin/ext2fuse completion fish >dist/completions/ext2fuse.fish

.PHONY: install
install: build docs ## the program, helpers for mount(8) and umount(8), manual, completions, unit (PREFIX, DESTDIR, HELPERDIR)
	install -D -m 755 $(BIN) '$(DESTDIR)$(PREFIX)/bin/ext2fuse'
	install -d '$(DESTDIR)$(HELPERDIR)'
	for h in $(HELPERS); do ln -sfn '$(PREFIX)/bin/ext2fuse' '$(DESTDIR)$(HELPERDIR)'/$$h; done
	install -D -m 644 dist/ext2fuse.8 '$(DESTDIR)$(PREFIX)/share/man/man8/ext2fuse.8'
	for h in $(HELPERS); do ln -sfn ext2fuse.8 '$(DESTDIR)$(PREFIX)/share/man/man8'/$$h.8; done
	install -D -m 644 dist/completions/ext2fuse.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ext2fuse'
	install -D -m 644 dist/completions/_ext2fuse '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ext2fuse'
	install -D -m 644 dist/completions/ext2fuse.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ext2fuse.fish'
	install -d '$(DESTDIR)$(UNITDIR)'
	sed 's|@BINDIR@|$(PREFIX)/bin|' scripts/package/ext2fuse@.service >'$(DESTDIR)$(UNITDIR)/ext2fuse@.service'

.PHONY: uninstall
uninstall: ## remove what make install put there
	for h in $(HELPERS); do rm -f '$(DESTDIR)$(HELPERDIR)'/$$h '$(DESTDIR)$(PREFIX)/share/man/man8'/$$h.8; done
	rm -f '$(DESTDIR)$(PREFIX)/bin/ext2fuse' '$(DESTDIR)$(PREFIX)/share/man/man8/ext2fuse.8' \
		'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/ext2fuse' '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ext2fuse' \
		'$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ext2fuse.fish' '$(DESTDIR)$(UNITDIR)/ext2fuse@.service'

.PHONY: deb
deb: ## dist/ext2fuse_VERSION_ARCH.deb (GOARCH)
	rm -rf dist/root dist/*.deb
	$(MAKE) install DESTDIR='$(CURDIR)/dist/root' PREFIX=/usr HELPERDIR=/usr/sbin UNITDIR=/usr/lib/systemd/system
	GOARCH=$(HOSTARCH) ARCH='$(TARGET)' VERSION='$(DEBVERSION)' \
		go tool -modfile=scripts/package/go.mod nfpm package -f scripts/package/nfpm.yaml -p deb -t dist

.PHONY: demo
demo: ## make an image, mount it, show it, unmount it, check it
	@scripts/setup.sh --demo
	@$(MAKE) -s build
	@scripts/demo.sh

.PHONY: test
test: setup lint build ## lint, short fuzzing, one processor, the matrix, all tests under -race
	scripts/fuzz.sh 500x
	GOMAXPROCS=1 go test -count=1 $(CONCURRENT)
	go test -count=1 -run Matrix ./scripts/mountcompare
	scripts/tests.sh -race -count=1 -timeout 15m ./...
	scripts/package/test.sh

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, nilness, errcheck, shellcheck, govulncheck; pinned
	@scripts/lint.sh

.PHONY: portable
portable: setup ## builds for all platforms, the decoders' tests on a 32-bit and a big-endian one
	scripts/portable.sh

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 5m) each
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: setup ## 10 minutes of random operations against the kernel (SOAKTIME, SOAKSEED), larger loads
	go test -count=1 -timeout 60m ./fs/ext2/fusefs/modeltest -seed $(SOAKSEED) -duration $(SOAKTIME) -v
	go test -count=1 -timeout 60m ./fs/ext2/fusefs/modeltest -seed $(SOAKSEED) -duration 2m -options writeback_cache -v
	GOMAXPROCS=1 go test -count=1 -timeout 60m ./fs/ext2/fusefs/modeltest -seed $(SOAKSEED) -duration 2m -daemon-race -v
	go test -count=1 -timeout 120m ./fs/ext2/fusefs/loadtest -long -clients $(SOAKTIME) -clients-seed $(SOAKSEED) -v
	go test -count=1 -timeout 60m ./fs/ext2/fusefs/loadtest -run TestClients -clients $(SOAKTIME) -clients-seed $(SOAKSEED) -daemon-race -v
	go test -count=1 -timeout 60m ./fs/ext2 -run 'TestHostile|TestIOFaults' -hostile 3000 -every-fault -v

.PHONY: crash
crash: setup ## what power cuts and kills leave: a hundred thousand states and more (CRASHSTATES each, CRASHSEED)
	go test -count=1 -timeout 120m ./fs/ext2/check -mutants 2000
	go test -count=1 -timeout 120m ./fs/ext2/crashtest -crash.states $(CRASHSTATES) -crash.scale 4 -crash.seed $(CRASHSEED) -crash.kernel -v

.PHONY: kill
kill: setup ## 500 daemons killed, 1,000 unmounts looked at (SOAKSEED)
	go test -count=1 -timeout 120m ./fs/ext2/fusefs/lifetest -rounds 500 -seed $(SOAKSEED) -v

.PHONY: bench
bench: setup build ## side by side with the kernel, fuse2fs and an empty FUSE server; draws docs/bench.svg (BENCHFLAGS)
	go run ./scripts/bench -svg docs/bench.svg $(BENCHFLAGS)

.PHONY: docs/boundary.svg
docs/boundary.svg: setup ## the picture of the 17-block trace, from a fresh trace
	go run ./scripts/boundary -o $@

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
