//! Capture while an agent runs: the rules come in force once the proxy listens, go when the agent ends, and go at once if
//! the control plane is out of reach with them. What was there before is written down first.

use std::convert::Infallible;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Gid;
use runtime::files;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::settings::Settings;
use super::system::{self, Before};
use super::{DNS_PORT, INBOUND_PORT, OUTBOUND_PORT};
use crate::command::output::tell;

/// Beside the machine's other state.
pub const FILE: &str = "capture.json";
/// Between two looks at something that comes soon.
const LOOK: Duration = Duration::from_millis(100);
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

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
struct Record {
    outcome: Outcome,
    /// While rules may be in force.
    before: Option<Before>,
}

impl Record {
    fn read(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(FILE);
        let unreadable = || format!("{} cannot be read", path.display());
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(unreadable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(unreadable),
        }
    }

    fn write(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = state_dir.join(FILE);
        let text = serde_json::to_vec_pretty(self)?;
        files::write_atomic(&path, &text, files::PRIVATE)
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Begins anew: what was confirmed or rolled back is so no more.
pub fn reset(state_dir: &Path) -> anyhow::Result<()> {
    let record = Record::read(state_dir)?;
    Record { outcome: Outcome::Pending, ..record }.write(state_dir)
}

pub fn outcome(state_dir: &Path) -> anyhow::Result<Outcome> {
    Ok(Record::read(state_dir)?.outcome)
}

/// Takes away what is in force, if anything is.
pub async fn release(state_dir: &Path) -> anyhow::Result<()> {
    let record = Record::read(state_dir)?;
    let Some(before) = &record.before else { return Ok(()) };
    system::release(before).await?;
    Record { before: None, ..record }.write(state_dir)
}

/// Makes the group this process' own, by which the rules know what it sends. Its other groups go.
pub fn take_group(group: u32) -> anyhow::Result<()> {
    let group = Gid::from_raw(group);
    let taken = nix::unistd::setgroups(&[]).and_then(|()| nix::unistd::setresgid(group, group, group));
    taken.context("the group of captured traffic cannot be taken; run the agent as root, or with CAP_SETGID")
}

/// Keeps the rules of one machine.
pub struct Keep {
    pub state_dir: PathBuf,
    pub settings: Settings,
}

impl Keep {
    /// Puts the rules in force once the proxy is `ready` and listens, and guards them until the control plane was
    /// reached. Does not return, so that it may run beside the proxy.
    pub async fn run<E: std::fmt::Display>(
        &self,
        mut ready: watch::Receiver<bool>,
        reach: impl AsyncFn() -> Result<(), E>,
    ) -> Infallible {
        if self.is_rolled_back() {
            tracing::warn!("capture was rolled back; run weft join again to try once more");
        } else if ready.wait_for(|ready| *ready).await.is_ok() {
            self.listening().await;
            if let Err(error) = self.put_in_force(reach).await {
                let reason = format!("{error:#}");
                tell(format_args!("capture was rolled back: {reason}"));
                tracing::error!(reason, "capture was rolled back");
                self.roll_back(reason).await;
            }
        }
        std::future::pending().await
    }

    fn is_rolled_back(&self) -> bool {
        outcome(&self.state_dir).is_ok_and(|outcome| matches!(outcome, Outcome::RolledBack(_)))
    }

    /// Waits until the proxy takes captured connections, which it does once it has the configuration for them.
    async fn listening(&self) {
        let mut places = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, OUTBOUND_PORT))];
        places.push((Ipv4Addr::LOCALHOST, INBOUND_PORT).into());
        if !self.settings.name_servers.is_empty() {
            places.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        if self.settings.ipv6 {
            places.push((Ipv6Addr::LOCALHOST, OUTBOUND_PORT).into());
            places.push((Ipv6Addr::LOCALHOST, INBOUND_PORT).into());
        }
        for place in places {
            while TcpStream::connect(place).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn put_in_force<E: std::fmt::Display>(&self, reach: impl AsyncFn() -> Result<(), E>) -> anyhow::Result<()> {
        let mut record = Record::read(&self.state_dir)?;
        let before = match record.before.take() {
            // They are still in force, or were when the machine went down.
            Some(before) => before,
            None => system::read(&self.settings).await?,
        };
        record.before = Some(before.clone());
        record.write(&self.state_dir)?;
        system::apply(&self.settings, &before).await?;
        tracing::info!(backend = ?self.settings.backend, mode = ?self.settings.mode, "connections are captured");
        if record.outcome != Outcome::Confirmed {
            self.confirm(reach).await?;
            Record { outcome: Outcome::Confirmed, ..record }.write(&self.state_dir)?;
            tracing::info!("the control plane was reached with capture in force, which stays");
        }
        Ok(())
    }

    /// Succeeds once the control plane was reached by a connection that began after the rules were in force.
    async fn confirm<E: std::fmt::Display>(&self, reach: impl AsyncFn() -> Result<(), E>) -> anyhow::Result<()> {
        let patience = self.settings.patience();
        let mut last = "no answer".to_owned();
        let attempts = async {
            while let Err(error) = reach().await {
                last = error.to_string();
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        };
        let reached = tokio::time::timeout(patience, attempts).await.is_ok();
        anyhow::ensure!(
            reached,
            "the control plane could not be reached within {} s of it ({last}); the machine stays a member of the mesh \
             without capture",
            patience.as_secs_f32()
        );
        Ok(())
    }

    async fn roll_back(&self, reason: String) {
        let taken_back = async {
            release(&self.state_dir).await?;
            let record = Record::read(&self.state_dir)?;
            Record { outcome: Outcome::RolledBack(reason), ..record }.write(&self.state_dir)
        };
        if let Err(error) = taken_back.await {
            tracing::error!(error = format!("{error:#}"), "capture could not be taken back; run weft leave");
        }
    }
}
