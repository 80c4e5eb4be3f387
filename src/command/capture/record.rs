//! What a machine writes down of its capture: what was there before, what became of it, and who takes it back should the
//! agent be gone. Whoever changes both the rules and the record holds the lock meanwhile.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use runtime::files;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::system::{self, Before};

/// Beside the machine's other state.
pub const FILE: &str = "capture.json";
/// How long a change of the rules may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What became of capture since the machine joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not in force yet, or in force and the control plane not yet reached with it.
    #[default]
    Pending,
    /// The control plane was reached with it; from then on it comes with every start of the agent.
    Confirmed,
    /// Taken back; it stays away until the machine joins again.
    RolledBack(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub outcome: Outcome,
    /// While rules may be in force.
    pub before: Option<Before>,
    /// The process that takes them back if the agent does not: the newest one, and no other.
    #[serde(default)]
    pub guard: Option<u32>,
}

impl Record {
    pub fn read(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(FILE);
        let unreadable = || format!("{} cannot be read", path.display());
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(unreadable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(unreadable),
        }
    }

    pub fn write(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = state_dir.join(FILE);
        let text = serde_json::to_vec_pretty(self)?;
        files::write_atomic(&path, &text, files::PRIVATE)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Whether rules may be in force, and this process is to take them back.
    pub fn is_guarded_by(&self, process: u32) -> bool {
        self.before.is_some() && self.guard == Some(process)
    }

    /// Whether rules may be in force that nobody takes back.
    pub fn is_stranded(&self) -> bool {
        self.before.is_some() && !self.guard.is_some_and(is_guard)
    }

    /// Takes the rules away.
    pub async fn release(&mut self, state_dir: &Path) -> anyhow::Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        system::release(before).await?;
        self.before = None;
        self.guard = None;
        self.write(state_dir)
    }
}

/// Holds off everybody else who changes rules and record; the lock goes with its holder, however that ends.
pub async fn lock(state_dir: &Path) -> anyhow::Result<File> {
    let directory = File::open(state_dir).with_context(|| format!("{} cannot be opened", state_dir.display()))?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = directory.try_lock() {
        ensure!(Instant::now() < deadline, "capture cannot be changed: {}: {error}", state_dir.display());
        tokio::time::sleep(LOOK).await;
    }
    Ok(directory)
}

/// Begins anew: what was confirmed or rolled back is so no more.
pub async fn reset(state_dir: &Path) -> anyhow::Result<()> {
    let _lock = lock(state_dir).await?;
    let record = Record::read(state_dir)?;
    Record { outcome: Outcome::Pending, ..record }.write(state_dir)
}

pub fn outcome(state_dir: &Path) -> anyhow::Result<Outcome> {
    Ok(Record::read(state_dir)?.outcome)
}

/// Takes away what is in force, if anything is.
pub async fn release(state_dir: &Path) -> anyhow::Result<()> {
    if !state_dir.join(FILE).exists() {
        return Ok(());
    }
    let _lock = lock(state_dir).await?;
    Record::read(state_dir)?.release(state_dir).await
}

/// The same, where no process is left that would.
pub async fn release_stranded(state_dir: &Path) -> anyhow::Result<()> {
    if Record::read(state_dir)?.is_stranded() { release(state_dir).await } else { Ok(()) }
}

/// Whether the process is there and is one, rather than another that has its number by now.
fn is_guard(process: u32) -> bool {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).any(|word| word == super::GUARD.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_dead_guard_left_behind_is_stranded() {
        let mut record = Record { before: Some(Before::default()), ..Record::default() };
        assert!(record.is_stranded());
        // This process is there, and is none.
        record.guard = Some(std::process::id());
        assert!(record.is_stranded() && record.is_guarded_by(std::process::id()));
        record.before = None;
        assert!(!record.is_stranded() && !record.is_guarded_by(std::process::id()));
    }

    #[tokio::test]
    async fn one_at_a_time_changes_the_rules() {
        let state = tempfile::TempDir::new().unwrap();
        let held = lock(state.path()).await.unwrap();
        let other = File::open(state.path()).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }
}
