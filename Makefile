# mbxtools: what a packager expects.
#   make, make demo, make test, make check, make bench, make install [PREFIX=/usr] [DESTDIR=...], make uninstall, make clean
#   make vendor    the sources of all crates, so that everything else works without a network
#   make deb       a Debian package in target/deb; make static   binaries that need no libc, in target/static
#   make servers   Cyrus 3.2.6, 3.10.2 and 3.12 for the tests, in chroots in $MBX_SERVERS (/var/cache/mbxtools/servers)
# And what a maintainer runs now and then: make torture, make living, make oracle, make matrix, make fuzz [MINUTES=10] [FUZZ="list path"].
# And what a maintainer runs now and then: make torture, make oracle, make matrix, make fuzz [MINUTES=10] [FUZZ="list path"].

PREFIX  = /usr/local
BINDIR  = $(PREFIX)/bin
MANDIR  = $(PREFIX)/share/man
DESTDIR =
CARGO   = cargo
INSTALL = install

BINS  = mbx-parse mbx-remap-part mbx-acl-rewrite mbx-check-paths mbx-mkmeta mbx-count-guard
MAN1  = $(BINS:%=man/%.1)
MAN5  = man/mbx-dump.5
MAN7  = man/mbx.7 man/mbx-migrate.7
TARGET = $(or $(CARGO_TARGET_DIR),target)/release
BUILT  = $(BINS:%=$(TARGET)/%)
SOURCES = Cargo.toml Cargo.lock $(shell find src -name '*.rs')
HOST    = $(shell rustc -vV | sed -n 's/^host: //p')
SHARE   = $(PREFIX)/share
BASH    = $(SHARE)/bash-completion/completions
ZSH     = $(SHARE)/zsh/site-functions
FISH    = $(SHARE)/fish/vendor_completions.d
DOC     = $(SHARE)/doc/mbxtools
MIGRATE = $(wildcard examples/migrate/*)
# Those of them that are run.
SCRIPTS = $(filter %.sh %/compare,$(MIGRATE))

# No path of the machine that builds is in what it builds, so that two builds are the same bytes. Panics have a place in
# the source in them, of ours and of the crates.
CARGO_HOME ?= $(HOME)/.cargo
SAME = --remap-path-prefix=$(CURDIR)=. \
    $(patsubst %,--remap-path-prefix=%=crates,$(CURDIR)/vendor $(wildcard $(CARGO_HOME)/registry/src/*))

all: fetch
	RUSTFLAGS="$(RUSTFLAGS) $(SAME)" $(CARGO) build --release --locked

# Where the crates are is to be known before they are compiled.
fetch:
	$(CARGO) fetch --quiet --locked --target $(HOST)

# What was built is what is installed: root may have no cargo.
$(BUILT): $(SOURCES)
	$(MAKE) all

vendor:
	mkdir -p .cargo
	$(CARGO) vendor --locked --versioned-dirs vendor >.cargo/config.toml

static: fetch
	RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static $(SAME)" \
	    $(CARGO) build --release --locked --target $(HOST) --target-dir target/static

deb: all
	CARGO="$(CARGO)" debian/build target/deb

demo: all
	PATH="$(CURDIR)/$(TARGET):$$PATH" sh examples/demo.sh

# The tests, and every check whose tool is here; MBX_REQUIRE_TOOLS=1 (as .ci/run sets it) makes a missing tool a failure.
# What was skipped is said again at the end.
check: lint
	@$(call tests,)

# All but the tests that need a real server.
test:
	@$(call tests,-- --skip cyrus:: --skip loaders::differential)

SKIPPED = $(abspath $(or $(CARGO_TARGET_DIR),target)/skipped)
define tests
rm -f $(SKIPPED); MBX_SKIPPED=$(SKIPPED) $(CARGO) test --locked --lib --test main $(1); status=$$?; \
    if test -s $(SKIPPED); then sort -u $(SKIPPED) >&2; fi; exit $$status
endef

CHECKED = examples/demo.sh examples/migrate/*.sh debian/build tests/harness/*.sh .ci/run

# The checks of format, lints, pages and scripts, as far as their tools are here.
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@for tool in mandoc shellcheck python3 pyflakes3; do \
	    if ! command -v $$tool >/dev/null; then \
	        echo "make check: $$tool is not installed, ITS CHECK IS SKIPPED" >&2; \
	        test -z "$$MBX_REQUIRE_TOOLS" || exit 1; \
	    fi; \
	done
	@if command -v mandoc >/dev/null; then \
	    found=$$(mandoc -Tlint -W warning $(MAN1) $(MAN5) $(MAN7) | grep -v 'outdated mandoc.db'); \
	    test -z "$$found" || { echo "$$found"; exit 1; }; \
	fi
	@if command -v python3 >/dev/null; then \
	    PYTHONPYCACHEPREFIX=$(abspath $(or $(CARGO_TARGET_DIR),target)/pycache) python3 -m py_compile examples/migrate/compare; \
	fi
	@if command -v pyflakes3 >/dev/null; then pyflakes3 examples/migrate/compare; fi
	@if command -v shellcheck >/dev/null; then shellcheck $(CHECKED); fi

# Debian's packages of Cyrus, each in a chroot; SERVERS names those that are wanted, else all.
SERVERS =
servers:
	tests/harness/servers.sh $(SERVERS)

# The package built and tested by Debian stable's own cargo and rustc, in a chroot, without a network.
debian-rust:
	tests/harness/debian-rust.sh

# Every list of the corpora on every server of make servers, half an hour; make check draws some.
living:
	MBX_LIVING=all $(CARGO) test --locked --test main cyrus::living -- --nocapture

# There is no unsafe code here for a sanitizer to watch, and without one three times as many inputs are tried.
# Messages of the filters go nowhere (close_fd_mask); a finding shows its own when it is run again.
MINUTES = 1
FUZZ    = acl conf header json list path record text told
fuzz:
	@command -v cargo-fuzz >/dev/null || { \
	    echo "make fuzz: cargo-fuzz IS NOT INSTALLED, NOTHING IS FUZZED: cargo install cargo-fuzz, and a nightly" >&2; exit 1; }
	$(CARGO) +nightly run --quiet --release --manifest-path fuzz/Cargo.toml --bin seed
	for target in $(FUZZ); do \
	    $(CARGO) +nightly fuzz run -s none $$target -- -max_total_time=$$(($(MINUTES) * 60)) -max_len=1000 \
	        -timeout=10 -rss_limit_mb=2048 -close_fd_mask=2 -print_final_stats=1 || exit 1; \
	done

# 2,505 nights, each with one fault; a quarter of an hour. MBX_KILL_TRIALS tells another number.
torture:
	MBX_KILL_TRIALS=$${MBX_KILL_TRIALS:-2505} $(CARGO) test --release --locked --test main faults::kills -- --nocapture

# The real mbpath of 3.6.1 and the filters about 10,000 names under each of 50 configurations; some minutes, as root.
# MBX_SEED draws others.
oracle:
	MBX_REQUIRE_CYRUS=1 MBX_ORACLE_NAMES=$${MBX_ORACLE_NAMES:-10000} MBX_ORACLE_CONFIGS=$${MBX_ORACLE_CONFIGS:-50} \
	    $(CARGO) test --release --locked --test main loaders::differential::oracle -- --nocapture

# Each option of each filter with each other, under all that can befall a run: tens of thousands of runs.
matrix:
	MBX_MATRIX=all $(CARGO) test --release --locked --test main -- faults::matrix --nocapture

bench:
	$(CARGO) bench --locked --bench pipes --bench spool

install: $(BUILT)
	$(INSTALL) -d $(DIRS:%=$(DESTDIR)%)
	cd $(TARGET) && $(INSTALL) -m 0755 $(BINS) $(abspath $(DESTDIR)$(BINDIR))
	$(INSTALL) -m 0644 $(MAN1) $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 0644 $(MAN5) $(DESTDIR)$(MANDIR)/man5
	$(INSTALL) -m 0644 $(MAN7) $(DESTDIR)$(MANDIR)/man7
	$(INSTALL) -m 0644 README.md NEWS.md $(DESTDIR)$(DOC)
	$(INSTALL) -m 0644 $(filter-out $(SCRIPTS),$(MIGRATE)) $(DESTDIR)$(DOC)/examples/migrate
	$(INSTALL) -m 0755 $(SCRIPTS) $(DESTDIR)$(DOC)/examples/migrate
	set -e; for bin in $(BINS); do \
	    $(TARGET)/$$bin --completions bash >$(DESTDIR)$(BASH)/$$bin; \
	    $(TARGET)/$$bin --completions zsh >$(DESTDIR)$(ZSH)/_$$bin; \
	    $(TARGET)/$$bin --completions fish >$(DESTDIR)$(FISH)/$$bin.fish; \
	    chmod 0644 $(DESTDIR)$(BASH)/$$bin $(DESTDIR)$(ZSH)/_$$bin $(DESTDIR)$(FISH)/$$bin.fish; \
	done

DIRS = $(BINDIR) $(MANDIR)/man1 $(MANDIR)/man5 $(MANDIR)/man7 $(BASH) $(ZSH) $(FISH) $(DOC)/examples/migrate

uninstall:
	rm -f $(BINS:%=$(DESTDIR)$(BINDIR)/%) $(BINS:%=$(DESTDIR)$(BASH)/%) $(BINS:%=$(DESTDIR)$(ZSH)/_%) \
	    $(BINS:%=$(DESTDIR)$(FISH)/%.fish) $(MAN1:man/%=$(DESTDIR)$(MANDIR)/man1/%) \
	    $(MAN5:man/%=$(DESTDIR)$(MANDIR)/man5/%) $(MAN7:man/%=$(DESTDIR)$(MANDIR)/man7/%)
	rm -rf $(DESTDIR)$(DOC)

clean:
	$(CARGO) clean

.PHONY: all fetch vendor static deb demo check test lint fuzz torture oracle matrix bench install uninstall clean servers living debian-rust matrix
