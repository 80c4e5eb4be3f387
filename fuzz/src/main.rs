//! libFuzzer over one of the fuzz targets of the proxy and of the authority, named by the environment variable
//! `FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let mut all = proxy::fuzz::TARGETS.iter().chain(&citadel::fuzz::TARGETS);
    all.find(|(known, _)| *known == name).expect("the name is one of a seed directory").1
});

fuzz_target!(|data: &[u8]| (*TARGET)(data));
