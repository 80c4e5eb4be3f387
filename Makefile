.PHONY: up test check bench fuzz console

# exec: ctrl-C and signals go to weft itself, which then stops everything that it started.
up:
	@scripts/build-console
	@cargo build --bin weft && exec "$${CARGO_TARGET_DIR:-target}/debug/weft" up

test:
	@scripts/test-setup
	@scripts/build-console --required
	@cd web/console && npm run --silent test
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace; else cargo test --workspace -- --test-threads=1; fi

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans were not checked"; fi

bench:
	@scripts/test-setup bench
	cargo bench

# Builds the console and tells where the running mesh has it.
console:
	@scripts/build-console
	@cargo build --bin weft && exec "$${CARGO_TARGET_DIR:-target}/debug/weft" console

# Ten minutes for each target, or SECONDS=n.
fuzz:
	@fuzz/run $(or $(SECONDS),600)
