# What people do with the source: build, try, test, install. GNU make; everything that is a program lives in scripts/.
#
# Nothing but `setup`, `demo`, `test`, `lint` and `fuzz` calls scripts/setup.sh, which may install packages and says so first. With SETUP=no it only says
# what is missing.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
INSTALL ?= install
# no: install nothing.
SETUP ?= yes
export SETUP
# What `make packages` builds for: nothing is this machine; x86_64-unknown-linux-musl and aarch64-unknown-linux-musl are static.
PACKAGE_TARGET ?=
# For another processor a C compiler and a linker are needed, which cargo-zigbuild brings.
PACKAGE_BUILD := $(if $(filter-out $(shell uname -m)-%,$(PACKAGE_TARGET)),zigbuild,build)
# musl's own allocator lets the threads of a scan wait for each other (bench-data/runs/2026-11-30-musl-b).
PACKAGE_FEATURES := $(if $(findstring musl,$(PACKAGE_TARGET)),--features mimalloc)
# More arguments for `cargo test`, such as a name.
TEST_ARGS ?=
# How long `make fuzz` runs each target, and which ones (all).
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
# How many cases `make fuzz-oracle` tries, and how many of a hundred on other file systems, with other users, in another locale.
CASES ?= 3000
PLACES ?= 15
# Which rsync `make fuzz-oracle-old` takes.
OLD_RSYNC ?= 3.2.7
# How many damages `make damage` tries.
DAMAGES ?= 100000
# How many power cuts `make crash` tries.
CRASHES ?= 200
# For `make rsync-suite`: rsync's source tree, configured and built, and more arguments, such as the name of a test.
RSYNC_SOURCE ?=
SUITE_ARGS ?=
# More arguments for `multi-sync --selftest`, such as a destination.
SELFTEST_ARGS ?=
# More arguments for `multi-sync --bench` and `--benchshm`, for `cargo bench`, and for scripts/compare.sh.
BENCH_ARGS ?=
CRITERION_ARGS ?=
COMPARE_ARGS ?=

SHELL = /bin/sh
# Where rustup puts cargo; a shell opened before that does not know it.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
BIN := $(TARGET)/release/multi-sync
SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
PAGES := $(wildcard docs/*.md)
DOCS := $(wildcard README.md CHANGELOG.md LICENSE LICENSE-* COPYING)
bindir = $(DESTDIR)$(PREFIX)/bin
docdir = $(DESTDIR)$(PREFIX)/share/doc/multi-sync
# What is installed below PREFIX/share beside the documentation, as FROM:TO.
SHARED := share/man/multi-sync.1:man/man1/multi-sync.1 \
    share/completions/multi-sync.bash:bash-completion/completions/multi-sync \
    share/completions/_multi-sync:zsh/site-functions/_multi-sync \
    share/completions/multi-sync.fish:fish/vendor_completions.d/multi-sync.fish \
    share/systemd/multi-sync@.service:doc/multi-sync/systemd/multi-sync@.service \
    share/systemd/multi-sync@.timer:doc/multi-sync/systemd/multi-sync@.timer
sharedir = $(DESTDIR)$(PREFIX)/share

.DEFAULT_GOAL := build
.PHONY: packages sbom build setup demo test lint install uninstall fuzz fuzz-oracle fuzz-oracle-old damage crash rsync-suite selftest bench benchshm criterion compare clean help need-cargo need-target need-rsync-source
# `make lint test` runs one after the other: cargo locks its folder anyway.
.NOTPARALLEL:

build: need-cargo ## the program, in target/release (default)
	$(CARGO) build --release --locked

# `sudo make install` after `make` needs no cargo.
$(BIN): $(SOURCES)
	@$(MAKE) --no-print-directory build
	@touch -c $(BIN)

setup: ## install what building and testing need from the system; SETUP=no: only say what is missing
	./scripts/setup.sh test

demo: need-cargo ## copy a real tree (DEMO_TREE, default /usr/share) and prove that nothing differs
	./scripts/setup.sh run
	@$(MAKE) --no-print-directory build
	MULTI_SYNC='$(BIN)' ./scripts/demo.sh

test: need-cargo ## all tests, with real rsync and sshd
	./scripts/setup.sh test
	$(CARGO) test --locked --no-fail-fast $(TEST_ARGS)

lint: need-cargo ## format, clippy, documentation, shell scripts
	./scripts/setup.sh run
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	@if command -v shellcheck >/dev/null; then \
	    echo shellcheck scripts/*.sh .ci/run; shellcheck scripts/*.sh .ci/run; \
	else \
	    echo 'shellcheck is not installed: scripts not checked'; \
	fi

install: $(BIN) ## program, man page, completions and documentation under PREFIX (/usr/local), DESTDIR honoured
	$(INSTALL) -d '$(bindir)' '$(docdir)' '$(docdir)/docs'
	$(INSTALL) -m 755 '$(BIN)' '$(bindir)/multi-sync'
	$(if $(DOCS),$(INSTALL) -m 644 $(DOCS) '$(docdir)')
	$(INSTALL) -m 644 $(PAGES) '$(docdir)/docs'
	$(foreach pair,$(SHARED),$(INSTALL) -D -m 644 '$(word 1,$(subst :, ,$(pair)))' '$(sharedir)/$(word 2,$(subst :, ,$(pair)))' &&) true

uninstall: ## remove what install has put there
	rm -f '$(bindir)/multi-sync' $(foreach doc,$(DOCS),'$(docdir)/$(doc)') $(foreach page,$(PAGES),'$(docdir)/$(page)') \
	    $(foreach pair,$(SHARED),'$(sharedir)/$(word 2,$(subst :, ,$(pair)))')
	for dir in '$(docdir)/docs' '$(docdir)/systemd' '$(docdir)'; do if [ -d "$$dir" ]; then rmdir "$$dir"; fi; done

packages: need-target ## a .deb and an .rpm (PACKAGE_TARGET=x86_64-unknown-linux-musl or aarch64-...: static); needs cargo-deb and cargo-generate-rpm
	@for tool in cargo-deb cargo-generate-rpm; do \
	    command -v $$tool >/dev/null || { echo "$$tool is not here: cargo install --locked $$tool" >&2; exit 1; }; done
	@# A strip of this machine does not know the programs of others; the linker does.
	CARGO_PROFILE_RELEASE_STRIP=symbols $(CARGO) $(PACKAGE_BUILD) --release --locked $(PACKAGE_FEATURES) $(if $(PACKAGE_TARGET),--target '$(PACKAGE_TARGET)')
	@mkdir -p target
	@printf '%s\n' \
	    "multi-sync ($(VERSION)-1) unstable; urgency=medium" '' '  * See docs/CHANGELOG.md in this directory.' '' \
	    " -- The authors of multi-sync <maintainers@multi-sync.invalid>  $$(LC_ALL=C date -R)" >target/debian-changelog
	@gzip -9nc share/man/multi-sync.1 >target/multi-sync.1.gz
	$(CARGO) deb --no-build --no-strip $(if $(PACKAGE_TARGET),--target '$(PACKAGE_TARGET)')
	$(CARGO) generate-rpm $(if $(PACKAGE_TARGET),--target '$(PACKAGE_TARGET)')
	@cd '$(TARGET)/$(PACKAGE_TARGET)' && \
	    sha256sum debian/multi-sync_"$(VERSION)"-*.deb generate-rpm/multi-sync-"$(VERSION)"-*.rpm release/multi-sync | tee SHA256SUMS

sbom: need-cargo ## target/multi-sync.cdx.json: every crate in the program, with version and licence (CycloneDX); needs cargo-cyclonedx
	@command -v cargo-cyclonedx >/dev/null || { echo "cargo-cyclonedx is not here: cargo install --locked cargo-cyclonedx" >&2; exit 1; }
	@mkdir -p target
	$(CARGO) cyclonedx --format json --override-filename multi-sync.cdx $(PACKAGE_FEATURES) $(if $(PACKAGE_TARGET),--target '$(PACKAGE_TARGET)')
	mv multi-sync.cdx.json target/

fuzz: need-cargo ## fuzz targets for a time each (FUZZ_SECONDS=60, FUZZ_TARGETS='size endpoint'); installs cargo-fuzz
	CARGO='$(CARGO)' FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_TARGETS='$(FUZZ_TARGETS)' ./scripts/fuzz.sh

fuzz-oracle: need-cargo ## random cases compared with one rsync (CASES=3000, ORACLE_FROM=SEED to repeat)
	ORACLE_CASES='$(CASES)' ORACLE_PLACES='$(PLACES)' $(CARGO) test --locked --release --test it -- --exact --nocapture one_rsync::random_cases

fuzz-oracle-old: need-cargo ## the same with an old rsync (OLD_RSYNC=3.2.7, fetched with apt-get), then from this one to that
	old=$$(./scripts/old-rsync.sh '$(OLD_RSYNC)' '$(TARGET)') && \
	    ORACLE_RSYNC=$$old $(MAKE) --no-print-directory fuzz-oracle PLACES=0 && \
	    ORACLE_OTHER_RSYNC=$$old $(MAKE) --no-print-directory fuzz-oracle PLACES=0

damage: need-cargo ## random damages of a run directory (DAMAGES=100000): none may be taken for a finished copy
	DAMAGES='$(DAMAGES)' $(CARGO) test --locked --release --lib -- --nocapture whatever_is_damaged

crash: need-cargo ## power cuts that lose what was not synced (CRASHES=200, CRASH_SEED=N to repeat); needs FUSE
	CRASHES='$(CRASHES)' $(CARGO) test --locked --test it -- --nocapture crash::

rsync-suite: need-rsync-source build ## rsync's own tests, with multi-sync in the place of rsync (RSYNC_SOURCE=DIR, built; nothing is fetched)
	MULTI_SYNC='$(BIN)' ./scripts/rsync-suite.py '$(RSYNC_SOURCE)' $(SUITE_ARGS)

selftest: build ## does it work on this machine (SELFTEST_ARGS=nas:/backup)
	'$(BIN)' --selftest $(SELFTEST_ARGS)

bench: build ## one rsync and several on msrsync's tree in TMPDIR (BENCH_ARGS='--bench-entries 10000')
	'$(BIN)' --bench $(BENCH_ARGS)

benchshm: build ## the same in /dev/shm, or $SHM
	'$(BIN)' --benchshm $(BENCH_ARGS)

criterion: need-cargo ## measurements of the parts (CRITERION_ARGS='--bench scan'); also `cargo bench`
	$(CARGO) bench --locked $(CRITERION_ARGS)

compare: need-cargo ## measure against rsync and other tools (COMPARE_ARGS: see scripts/compare.sh --help)
	$(CARGO) build --release --locked --bins --example maketree --example sametree --example barescan --example manybuckets
	MULTI_SYNC='$(BIN)' MAKETREE='$(TARGET)/release/examples/maketree' SAMETREE='$(TARGET)/release/examples/sametree' \
	    BARESCAN='$(TARGET)/release/examples/barescan' MANYBUCKETS='$(TARGET)/release/examples/manybuckets' \
	    ./scripts/compare.sh $(COMPARE_ARGS)

clean: need-cargo ## remove what was built
	$(CARGO) clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

need-rsync-source:
	@[ -f '$(RSYNC_SOURCE)/runtests.py' ] || { \
	    echo 'RSYNC_SOURCE=DIR is needed: a source tree of rsync 3.5 or newer, configured and built' >&2; exit 1; }

need-target: need-cargo
	@[ -z '$(PACKAGE_TARGET)' ] || [ -d "$$(rustc --print target-libdir --target '$(PACKAGE_TARGET)')" ] || { \
	    echo 'Rust has no standard library for $(PACKAGE_TARGET) here: rustup target add $(PACKAGE_TARGET)' >&2; exit 1; }
	@[ -z '$(PACKAGE_FEATURES)' ] || [ '$(PACKAGE_BUILD)' != build ] || [ -n "$$CC" ] || command -v "$$(uname -m)-linux-musl-gcc" >/dev/null || { \
	    echo "a C compiler for musl is not here: $$(uname -m)-linux-musl-gcc, in Debian's package musl-tools; or name one in CC" >&2; exit 1; }
	@[ '$(PACKAGE_BUILD)' = build ] || command -v cargo-zigbuild >/dev/null || { \
	    echo 'cargo-zigbuild is not here: cargo install --locked cargo-zigbuild, and zig (both: pip install cargo-zigbuild ziglang)' >&2; exit 1; }

need-cargo:
	@command -v $(CARGO) >/dev/null || { \
	    echo 'cargo is not here. multi-sync needs Rust: https://rustup.rs, or the package cargo of your system' >&2; exit 1; }
