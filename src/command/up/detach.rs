//! A supervisor in the background, and waiting for one to be ready.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use super::Options;
use super::control::{Phase, READY, ask};
use super::plan::State;
use super::progress::Progress;
use super::supervisor::{log_file, log_tail};
use crate::command::child;
use crate::command::data_dir::DataDir;

const POLL: Duration = Duration::from_millis(200);

/// Starts a supervisor that stays, and waits until its mesh is ready.
pub async fn start(options: &Options, data: &DataDir) -> anyhow::Result<State> {
    let log = log_file(data, "up")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--data-dir").arg(data.path()).args(["up", "--supervise"]);
    for directory in &options.config {
        command.arg("--config").arg(std::path::absolute(directory)?);
    }
    for (given, flag) in [(options.no_sample, "--no-sample"), (options.no_restart, "--no-restart")] {
        if given {
            command.arg(flag);
        }
    }
    if let Some(ttl) = options.cert_ttl {
        command.arg("--cert-ttl").arg(format!("{}ms", ttl.as_millis()));
    }
    command.args(options.authority.words());
    command.args(options.store.words());
    command.args(options.platforms.words());
    command.args(options.check_in.words());
    command.args(options.key_sources.words());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    child::detach(&mut command);
    let supervisor = command.spawn().context("the supervisor cannot be started")?;
    let progress = Progress::new();
    let state = wait_until_ready(data, &progress, Some(supervisor)).await;
    progress.done();
    state
}

/// Follows a supervisor until its mesh is ready. If it ends before, the end of its log says why.
pub async fn wait_until_ready(data: &DataDir, progress: &Progress, own: Option<Child>) -> anyhow::Result<State> {
    let mut own = own;
    let mut missing = 0;
    loop {
        if let Some(child) = &mut own
            && let Some(status) = child.try_wait()?
        {
            anyhow::bail!("the mesh did not start ({status}):\n{}", log_tail(data, "up"));
        }
        match ask(data, "status").await {
            Some(answer) if answer.phase == Phase::Ready => {
                if answer.message != READY {
                    progress.note(&format!("weft: {}", answer.message));
                }
                return Ok(answer.state);
            }
            Some(answer) => progress.say(&answer.message),
            None => missing += 1,
        }
        anyhow::ensure!(
            own.is_some() || missing < 10,
            "the supervisor stopped; its log is {}",
            data.log("up").display()
        );
        tokio::time::sleep(POLL).await;
    }
}
