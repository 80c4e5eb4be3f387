//! A process beside the agent that takes the rules of capture back when the agent cannot: because it was killed, or
//! because it hangs before the control plane was reached. It has a session of its own, so that what ends the agent with
//! its group or its terminal does not end it too.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use nix::sys::prctl;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::record::{Outcome, Record, lock};
use crate::command::output::tell;
use crate::command::{child, duration};

/// The hidden verb that is the process.
pub const GUARD: &str = "capture-guard";
/// Between two looks whether another agent has taken over, and between two attempts.
const LOOK: Duration = Duration::from_millis(200);
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
/// Why the rules of an agent that is alive are taken back.
pub const HUNG: &str = "the agent hung before the control plane was reached";
/// What an agent that is alive takes to roll back by itself.
const SLACK: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Options {
    /// The state of the agent
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// How long to wait for another agent when this one is gone
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    grace: Duration,
}

/// The process, as its agent has it. It learns of the agent's end by the pipe to it, which the kernel closes.
pub struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    pub fn start(state_dir: &Path, grace: Duration) -> anyhow::Result<Self> {
        // The program that runs, also where its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("weft").args([GUARD, "--state-dir"]).arg(state_dir);
        command.args(["--grace", &format!("{}ms", grace.as_millis())]);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null());
        child::detach(&mut command);
        let mut child = command.spawn().context("the guard of capture cannot be started")?;
        let pipe = child.stdin.take().context("a pipe was asked for")?;
        Ok(Self { child, pipe })
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// From now on the control plane has to be reached within `patience`.
    pub async fn arm(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.say(Word::Armed(patience)).await
    }

    pub async fn confirm(&mut self) -> anyhow::Result<()> {
        self.say(Word::Confirmed).await
    }

    async fn say(&mut self, word: Word) -> anyhow::Result<()> {
        self.pipe.write_all(word.line().as_bytes()).await.context("the guard of capture has ended")
    }

    /// Returns when it has ended, which it does by itself only when there is nothing left to guard.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Lets go of it once the rules are taken back.
    pub async fn end(self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let Self { mut child, pipe } = self;
        drop(pipe);
        let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
    }
}

/// What an agent tells its guard, a line each.
#[derive(Debug, PartialEq)]
enum Word {
    Armed(Duration),
    Confirmed,
}

impl Word {
    fn line(&self) -> String {
        match self {
            Self::Armed(patience) => format!("armed {}\n", patience.as_millis()),
            Self::Confirmed => "confirmed\n".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("armed", millis)) => millis.parse().ok().map(Duration::from_millis).map(Self::Armed),
            _ => (line == "confirmed").then_some(Self::Confirmed),
        }
    }
}

/// The process itself. It ends when the agent ended in order, when another guards the rules, or when they are taken back.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // Whoever ends the agent by its name means the agent, which tells in time when there is nothing left to guard.
    let _ = prctl::set_name(c"weft-guard");
    let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let mut words = words();
    let mut deadline: Option<Instant> = None;
    loop {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            word = words.recv() => match word {
                Some(Word::Armed(patience)) => deadline = Some(Instant::now() + patience + SLACK),
                Some(Word::Confirmed) => deadline = None,
                None => break,
            },
            () = late => {
                return take_back(&options.state_dir, HUNG, Outcome::RolledBack(HUNG.to_owned())).await;
            }
        }
    }
    wait_for_another(&options).await;
    if !is_mine(&options.state_dir) {
        return Ok(());
    }
    let reason = format!("the agent was killed, and no other took over within {} s", options.grace.as_secs_f32());
    let outcome = Record::read(&options.state_dir)?.outcome;
    take_back(&options.state_dir, &reason, outcome).await
}

/// The agent's words, until it is gone.
fn words() -> mpsc::UnboundedReceiver<Word> {
    let (told, words) = mpsc::unbounded_channel();
    // Reading blocks, and ends with the process.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(word) = Word::parse(&line) {
                let _ = told.send(word);
            }
        }
    });
    words
}

async fn wait_for_another(options: &Options) {
    let deadline = Instant::now() + options.grace;
    while Instant::now() < deadline && is_mine(&options.state_dir) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Not so once the rules are taken back, the machine has left, or the agent that came next has a guard of its own.
fn is_mine(state_dir: &Path) -> bool {
    Record::read(state_dir).is_ok_and(|record| record.is_guarded_by(std::process::id()))
}

/// Again and again until it is done, as nobody else does it.
async fn take_back(state_dir: &Path, reason: &str, outcome: Outcome) -> anyhow::Result<()> {
    let mut told = false;
    loop {
        match try_take_back(state_dir, &outcome).await {
            Ok(false) => return Ok(()),
            Ok(true) => {
                tell(format_args!("capture was rolled back: {reason}"));
                return Ok(());
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tell(format_args!("capture cannot be rolled back yet: {error:#}"));
                }
            }
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// Whether there was anything to take back for this process.
async fn try_take_back(state_dir: &Path, outcome: &Outcome) -> anyhow::Result<bool> {
    if !state_dir.exists() {
        return Ok(false);
    }
    // An agent that hangs may hold it for ever.
    let _lock = lock(state_dir).await;
    let mut record = Record::read(state_dir)?;
    if !record.is_guarded_by(std::process::id()) {
        return Ok(false);
    }
    record.outcome = outcome.clone();
    record.release(state_dir).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in [Word::Armed(Duration::from_millis(1500)), Word::Confirmed] {
            assert_eq!(Word::parse(word.line().trim_end()), Some(word));
        }
        assert!(["", "armed", "armed x", "confirmed now"].iter().all(|line| Word::parse(line).is_none()));
    }
}
