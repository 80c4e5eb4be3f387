//! The descriptors of every message in this crate, for the proto-JSON mapping (config dumps, bootstrap files) and for
//! saying what is wrong with a message.

use std::sync::{Mutex, PoisonError};

use prost_reflect::DescriptorPool;

static POOL: Mutex<Option<DescriptorPool>> = Mutex::new(None);

/// All message descriptors. They are decoded when they are asked for, which takes milliseconds and megabytes, and kept
/// until they are released.
pub fn descriptor_pool() -> DescriptorPool {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(decode).clone()
}

/// Lets go of the descriptors, which live on with whoever holds them.
pub fn release_descriptors() {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).take();
}

fn decode() -> DescriptorPool {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("the build script wrote a closed set of descriptors")
}
