//! Child processes that do not outlive their parent.
#![allow(unsafe_code, reason = "the death signal is set between fork and exec, which only `pre_exec` reaches")]

use std::io;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};

use super::descriptors;

/// Makes the child a process group of its own, so that ctrl-C reaches the parent alone, and has the kernel send it
/// `on_death` when the thread that starts it ends. Start it from the main thread.
pub fn tie(command: &mut Command, on_death: Signal) {
    let (parent, limit) = (getpid(), descriptors::found());
    command.process_group(0);
    // SAFETY: the closure runs in the forked child before exec; it makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(on_death)?;
            limit.map_or(Ok(()), descriptors::put_back)?;
            // The parent may have died before the line above.
            if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

/// Makes the child a session of its own, which stays when the parent ends.
pub fn detach(command: &mut Command) {
    // SAFETY: as above; `setsid` is one system call.
    unsafe {
        command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
}

/// Asks a child's whole group to end, waits for `patience`, then kills it. Returns when the child is gone.
pub async fn stop(child: &mut Child, patience: Duration) -> io::Result<()> {
    let Some(pid) = child.id() else { return Ok(()) };
    let group = Pid::from_raw(pid.cast_signed());
    // A group that is gone already needs no signal.
    let _ = killpg(group, Signal::SIGTERM);
    if tokio::time::timeout(patience, child.wait()).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        child.wait().await?;
    }
    // What the child itself left behind in its group.
    let _ = killpg(group, Signal::SIGKILL);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_ends_the_whole_group() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(std::process::Stdio::piped());
        tie(&mut command, Signal::SIGKILL);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = tokio::io::BufReader::new(child.stdout.take().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut line).await.unwrap();
        stop(&mut child, Duration::from_secs(5)).await.unwrap();
        // The pipe ends when the last process that held it is gone.
        let mut rest = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut rest).await.unwrap();
        assert!(line.trim().parse::<i32>().is_ok() && rest.is_empty());
    }

    #[tokio::test]
    async fn a_child_has_the_limit_of_descriptors_that_was_found() {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard).unwrap();
        assert_eq!(descriptors::raise(), usize::try_from(hard).unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n"]);
        tie(&mut command, Signal::SIGKILL);
        let told = command.output().await.unwrap().stdout;
        assert_eq!(String::from_utf8(told).unwrap().trim(), (hard / 2).to_string());
    }
}
