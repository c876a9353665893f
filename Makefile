# mbxtools: what a packager expects.
#   make, make demo, make check, make bench, make install [PREFIX=/usr] [DESTDIR=...], make uninstall, make clean
# And what a maintainer runs now and then: make torture, make fuzz [MINUTES=10] [FUZZ="list path"].

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
TARGET = target/release

all:
	$(CARGO) build --release --locked

demo: all
	PATH="$(CURDIR)/$(TARGET):$$PATH" sh examples/demo.sh

# The tests, and every check whose tool is here; MBX_REQUIRE_TOOLS=1 (as .ci/run sets it) makes a missing tool a failure.
check: lint
	$(CARGO) test --locked --lib --tests

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@for tool in mandoc shellcheck; do \
	    if ! command -v $$tool >/dev/null; then \
	        echo "make check: $$tool is not installed, ITS CHECK IS SKIPPED" >&2; \
	        test -z "$$MBX_REQUIRE_TOOLS" || exit 1; \
	    fi; \
	done
	@if command -v mandoc >/dev/null; then \
	    found=$$(mandoc -Tlint -W warning $(MAN1) $(MAN5) $(MAN7) | grep -v 'outdated mandoc.db'); \
	    test -z "$$found" || { echo "$$found"; exit 1; }; \
	fi
	@if command -v shellcheck >/dev/null; then shellcheck examples/demo.sh examples/migrate/*.sh fuzz/seed.sh .ci/run; fi

# There is no unsafe code here for a sanitizer to watch, and without one three times as many inputs are tried.
# Messages of the filters go nowhere (close_fd_mask); a finding shows its own when it is run again.
MINUTES = 1
FUZZ    = acl conf header json list path text told
fuzz:
	@command -v cargo-fuzz >/dev/null || { \
	    echo "make fuzz: cargo-fuzz IS NOT INSTALLED, NOTHING IS FUZZED: cargo install cargo-fuzz, and a nightly" >&2; exit 1; }
	fuzz/seed.sh
	for target in $(FUZZ); do \
	    $(CARGO) +nightly fuzz run -s none $$target -- -max_total_time=$$(($(MINUTES) * 60)) -max_len=1000 \
	        -timeout=10 -rss_limit_mb=2048 -close_fd_mask=2 -print_final_stats=1 || exit 1; \
	done

# 2,505 nights, each with one fault; a quarter of an hour. MBX_KILL_TRIALS tells another number.
torture:
	MBX_KILL_TRIALS=$${MBX_KILL_TRIALS:-2505} $(CARGO) test --release --locked --test kill -- --nocapture

bench:
	$(CARGO) bench --locked --bench pipes --bench spool

install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7
	cd $(TARGET) && $(INSTALL) -m 0755 $(BINS) $(abspath $(DESTDIR)$(BINDIR))
	$(INSTALL) -m 0644 $(MAN1) $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 0644 $(MAN5) $(DESTDIR)$(MANDIR)/man5
	$(INSTALL) -m 0644 $(MAN7) $(DESTDIR)$(MANDIR)/man7

uninstall:
	for bin in $(BINS); do rm -f $(DESTDIR)$(BINDIR)/$$bin; done
	for page in $(MAN1); do rm -f $(DESTDIR)$(MANDIR)/man1/$${page#man/}; done
	rm -f $(DESTDIR)$(MANDIR)/man5/mbx-dump.5
	for page in $(MAN7); do rm -f $(DESTDIR)$(MANDIR)/man7/$${page#man/}; done

clean:
	$(CARGO) clean

.PHONY: all demo check lint fuzz torture bench install uninstall clean
