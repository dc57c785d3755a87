# The front door. What CI runs is what a developer runs.

.PHONY: run build test check bench clean

# Brings the appliance up on this machine (as root). Ctrl-C stops it. ARGS="--listen 127.0.0.1:8443 ..." goes to `culvert run`.
run: build
	@exec $(or $(CARGO_TARGET_DIR),target)/release/culvert run $(ARGS)

# The helper and the supervisor are built by themselves, so that no other process's features get into them.
build:
	@scripts/setup run
	cargo build --release --locked -p culvert-helper
	cargo build --release --locked -p culvert-supervisor
	cargo build --release --locked $(PROCESSES:%=-p %)

PROCESSES = culvert culvert-proxy culvert-api culvert-bus culvert-pools culvert-queue culvert-tasks culvert-vpn

# All suites but the long modes (`cargo test -p culvert-helper --test crash -- --ignored` kills the helper at each of its
# system calls, takes minutes, and strace; `cargo test -p culvert-queue --test faults -- --ignored` kills the queue at each of
# its requests, with MongoDB; `CULVERT_FAULT_RUNS=200 CULVERT_FAULT_SEED=400 cargo test -p culvert-queue --test faults adversity
# -- --nocapture` lets everything go wrong 200 times, takes half an hour, and MongoDB); ONLY=NAME one of tests/NAME.rs, or the
# tests of the crate culvert-NAME.
test:
	@scripts/setup test
	@scripts/test $(ONLY)

# What can be said without running anything.
check:
	@scripts/setup test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo fetch --quiet --locked
	cargo deny --offline --locked check bans licenses sources

# What docs promise, measured; ONLY=NAME one bench. Each prints a table and writes target/bench/NAME.json.
bench: build
	@scripts/setup test
	cargo run --release --locked -p culvert-benches -- $(ONLY)

clean:
	cargo clean
