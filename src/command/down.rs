//! `weft down`: stops a mesh, and returns when nothing of it is left.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::data_dir::DataDir;
use super::output::line;
use super::up::{State, ask};

/// How long the supervisor may take to stop everything.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

pub async fn run(data: DataDir) -> anyhow::Result<()> {
    let Some(state) = State::read(&data) else {
        return line(format_args!("no mesh runs in {}", data.path().display()));
    };
    let asked = ask(&data, "down").await;
    let mut pids: Vec<u32> = asked.as_ref().map_or(&state, |answer| &answer.state).pids.values().copied().collect();
    if let Some(answer) = &asked {
        pids.push(answer.state.pid);
    } else {
        // The supervisor is gone; what it started was told by the kernel, and is told once more.
        pids.retain(|pid| is_ours(*pid));
        signal(&pids, Signal::SIGTERM);
    }
    if !gone(&pids, PATIENCE).await {
        pids.retain(|pid| is_ours(*pid));
        signal(&pids, Signal::SIGKILL);
        ensure!(gone(&pids, Duration::from_secs(5)).await, "these processes could not be stopped: {pids:?}");
    }
    line(if asked.is_some() || !pids.is_empty() { "stopped" } else { "nothing was running" })
}

fn signal(pids: &[u32], signal: Signal) {
    for pid in pids {
        // One that ended meanwhile needs no signal.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}

/// Whether a process still runs this program: its number may have gone to another since.
fn is_ours(pid: u32) -> bool {
    let own = std::env::current_exe().ok();
    own.is_some() && std::fs::read_link(format!("/proc/{pid}/exe")).ok() == own
}

async fn gone(pids: &[u32], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while pids.iter().any(|pid| lives(*pid)) {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// Whether a process is there and not only waiting to be reaped.
fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let after_name = status.rsplit(") ").next().unwrap_or_default();
    !after_name.is_empty() && !after_name.starts_with('Z')
}
