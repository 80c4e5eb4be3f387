//! Memory that is free and that the allocator keeps in hand. Allocators look after it when they are called, so a
//! process that has become quiet would keep it for ever.

use std::sync::OnceLock;

static RELEASE: OnceLock<fn()> = OnceLock::new();

/// How free memory is given back: known to the program, which chose the allocator. The first that is told counts.
pub fn set_release(release: fn()) {
    let _ = RELEASE.set(release);
}

/// Gives what the calling thread has freed back to the system. Worth it after much was freed, not on the way of a
/// request.
pub fn release() {
    if let Some(release) = RELEASE.get() {
        release();
    }
}
