//! The descriptors of every message in this crate, for the proto-JSON mapping (config dumps, bootstrap files).

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("the build script wrote a closed set of descriptors")
});

/// All message descriptors, decoded once on first use.
pub fn descriptor_pool() -> &'static DescriptorPool {
    &POOL
}
