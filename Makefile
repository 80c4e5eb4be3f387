.PHONY: up test check bench fuzz console headers

# exec: ctrl-C and signals go to weft itself, which then stops everything that it started.
up: headers
	@cargo build --bin weft && exec "$${CARGO_TARGET_DIR:-target}/debug/weft" up

test:
	@scripts/test-setup
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace; else cargo test --workspace; fi

check: headers
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans were not checked"; fi

bench:
	@scripts/test-setup bench
	cargo bench

console:
	@echo "The console is not part of this version yet; 'weft proxy-status' and 'weft services' show the mesh." >&2
	@exit 1

# Ten minutes for each target, or SECONDS=n.
fuzz:
	@fuzz/run $(or $(SECONDS),600)

# The client of Consul is built against OpenSSL.
headers:
	@pkg-config --exists openssl 2>/dev/null || \
	{ echo "Install pkg-config and libssl-dev to build weft, or build it without Consul: cargo build --no-default-features" >&2; exit 1; }
