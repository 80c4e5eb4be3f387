//! Says what to install where OpenSSL's headers are missing: the client of Consul is built against them, and the error
//! of the dependency that needs them is long.

use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OPENSSL_DIR");
    println!("cargo::rerun-if-env-changed=OPENSSL_LIB_DIR");
    let set = |name: &str| std::env::var_os(name).is_some();
    let on_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !set("CARGO_FEATURE_CONSUL") || !on_linux || set("OPENSSL_DIR") || set("OPENSSL_LIB_DIR") {
        return;
    }
    let asked = Command::new("pkg-config").args(["--exists", "openssl"]).stderr(Stdio::null()).status();
    if !asked.is_ok_and(|status| status.success()) {
        println!(
            "cargo::error=the client of Consul is built against OpenSSL, which is not here: install pkg-config and \
             libssl-dev (Debian), or build without it: cargo build --no-default-features"
        );
    }
}
