//! The allocator, and how it gives back what is free.
#![allow(unsafe_code, reason = "the allocator is C, and called as such")]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the free pages of this thread, and those of threads that ended, back to the system.
pub fn release() {
    // SAFETY: it takes no pointer and may be called on any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
