//! The allocator, and how the process gives back the memory that it does not need now.
#![allow(unsafe_code, reason = "the allocator and the pages of the program are reached by C and by address")]

use std::ffi::c_void;
use std::ptr::NonNull;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the free pages of this thread, and those of threads that ended, back to the system.
pub fn release() {
    // SAFETY: it takes no pointer and may be called on any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Unmaps the pages of the program's code and constants. Those that are used still are mapped again at their next use,
/// from the page cache and without a read; those that only a start or a change needed are not.
#[cfg(target_os = "linux")]
pub fn release_program() {
    // SAFETY: the linker defines both, at the beginning and the end of what it lays out for reading and executing.
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let length = (end.addr() - start.addr()) / PAGE * PAGE;
    let Some(start) = NonNull::new(start.cast_mut().cast::<c_void>()) else { return };
    // SAFETY: the pages are private mappings of a file that are never written to (writable data and what the loader
    // relocates lie behind them), so that they come back as they were.
    let _ = unsafe { nix::sys::mman::madvise(start, length, nix::sys::mman::MmapAdvise::MADV_DONTNEED) };
}

#[cfg(not(target_os = "linux"))]
pub fn release_program() {}

/// The smallest size of a page; on a machine with larger ones the call is refused, and nothing is let go.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    fn resident_file_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn the_program_lets_its_pages_go_and_runs_on() {
        let before = resident_file_kib();
        super::release_program();
        let after = resident_file_kib();
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
