//! Memory that is not needed now. Allocators look after what is free when they are called, and the pages of a program
//! stay mapped once used, so a process that has become quiet would keep both for ever.

use std::sync::OnceLock;

static RELEASE: OnceLock<[fn(); 2]> = OnceLock::new();

/// How free memory is given back, and how pages of the program are: known to the program, which chose the allocator.
/// The first that is told counts.
pub fn set_release(free: fn(), program: fn()) {
    let _ = RELEASE.set([free, program]);
}

/// Gives what the calling thread has freed back to the system. Worth it after much was freed, not on the way of a
/// request.
pub fn release() {
    if let Some([free, _]) = RELEASE.get() {
        free();
    }
}

/// As `release`, and lets the program's own pages go, too: those that are used still come back one by one. Worth it once
/// something large is done that will not be repeated soon, such as the start.
pub fn settle() {
    if let Some([free, program]) = RELEASE.get() {
        free();
        program();
    }
}
