# Evenkeel. `make demo` runs the main job, `make test` passes the tests; both install what is missing or say what to install.
#
# RocksDB takes ~15 minutes to compile on two cores. It is built once, as a static library beside the target directory,
# and handed to every profile.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/evenkeel
export CARGO_TARGET_DIR ?= $(CACHE)/target
ROCKSDB_VERSION := $(shell sed -n '/name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
export ROCKSDB_LIB_DIR ?= $(CACHE)/rocksdb-$(ROCKSDB_VERSION)
export ROCKSDB_STATIC := 1

.PHONY: demo build test test-clients check bench crash torture simulate fuzz book rocksdb tools here nextest clean

demo: build
	$(CARGO_TARGET_DIR)/release/evenkeel demo

build: rocksdb
	cargo build --release --locked -p evenkeel

rocksdb: tools here $(ROCKSDB_LIB_DIR)/librocksdb.a

# Clones share the target directory, and cargo takes what another one built from older files for its own. Whoever comes
# after another clone builds the workspace's crates anew.
here:
	@mkdir -p $(CARGO_TARGET_DIR)
	@if [ "$$(cat $(CARGO_TARGET_DIR)/.clone 2>/dev/null)" != "$(CURDIR)" ]; then \
		find crates tests benches -type f -exec touch -c {} + && echo "$(CURDIR)" > $(CARGO_TARGET_DIR)/.clone; fi

$(ROCKSDB_LIB_DIR)/librocksdb.a:
	@echo "building RocksDB once (~15 minutes on two cores) ..."
	env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR=$(CACHE)/rocksdb-build cargo build --locked -p librocksdb-sys
	mkdir -p $(ROCKSDB_LIB_DIR)
	cp "$$(ls -t $(CACHE)/rocksdb-build/debug/build/librocksdb-sys-*/out/librocksdb.a | head -1)" $@.part
	mv $@.part $@
	rm -rf $(CACHE)/rocksdb-build

tools:
	@.ci/tools

# Everything that must hold before a change is shared.
check: rocksdb
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

test: rocksdb nextest
	cargo nextest run --workspace --locked
	cargo test --workspace --doc --locked --quiet

# psql, pgbench, drivers and tools that nobody here wrote, against the binary that the tests are built with. They are
# installed into the cache. CLIENTS="psql jdbc" runs fewer.
test-clients: rocksdb
	cargo build --workspace --bins --locked
	tests/clients/run

nextest:
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest

# Against raw RocksDB, and PostgreSQL where it is installed. ARGS="--only copy,scan" measures less.
bench: build
	$(CARGO_TARGET_DIR)/release/evenkeel bench $(ARGS)

# Kills the database many more times than the tests do.
crash: rocksdb nextest
	EVENKEEL_CRASHES=$(or $(CRASHES),1000) cargo nextest run --workspace --locked --test crash

# Kills it while slots move: at every phase boundary, at any moment, and again while it recovers.
torture: rocksdb nextest
	EVENKEEL_CRASHES=$(or $(CRASHES),1000) cargo nextest run --workspace --locked --profile torture \
		-E 'binary(crash) and test(/^moves::/)'

# Jobs, migrations and the balancer in a simulated world, with everything that can go wrong; then with mistakes planted,
# each of which must be found. EVENKEEL_SEED=n tells the story of one seed, EVENKEEL_MISTAKE=Name plants that one in it.
simulate:
	EVENKEEL_SEEDS=$(or $(SEEDS),1000) cargo test --profile simulate --locked -p evenkeel-conductor -q simulation -- --nocapture

# Needs a nightly toolchain and cargo-fuzz.
fuzz: rocksdb
	cd crates/pql && cargo +nightly fuzz run parse -- -max_total_time=$(or $(SECONDS_MAX),60)
	cd crates/wire && cargo +nightly fuzz run -s none session -- -max_total_time=$(or $(SECONDS_MAX),60) -len_control=20

# The book, in docs/book. Needs mdbook (cargo install mdbook).
book:
	mdbook build docs

clean:
	cargo clean
