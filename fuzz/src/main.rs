//! libFuzzer over one of the proxy's fuzz targets, named by the environment variable `FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<String> = LazyLock::new(|| std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target"));

fuzz_target!(|data: &[u8]| proxy::fuzz::run(&TARGET, data));
