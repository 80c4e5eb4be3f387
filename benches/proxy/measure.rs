//! What processes used: CPU time from the scheduler, memory from the kernel.

use std::fs;
use std::time::{Duration, Instant};

/// CPU nanoseconds of all threads of a process (proc(5), `schedstat`).
pub fn cpu_nanoseconds(process: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let of_thread = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    threads.flatten().filter_map(|thread| of_thread(thread.path())).sum()
}

/// Memory of a process in KiB: resident, and the anonymous part of it.
pub fn memory(process: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// Ticks (1/100 s) that the machine was busy.
fn busy() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum()
}

/// Waits, for at most a minute, until nothing else keeps the machine busy.
pub fn quiet() {
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        let before = busy();
        std::thread::sleep(Duration::from_millis(300));
        if busy() - before <= 6 {
            return;
        }
    }
}
