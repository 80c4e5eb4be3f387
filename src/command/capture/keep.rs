//! Capture while an agent runs: the rules come in force once the proxy listens, go when the agent ends, and go at once if
//! the control plane is out of reach with them. What was there before is written down first, and a guard of its own
//! process takes the rules back should the agent be killed.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::unistd::Gid;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

use super::guard::{Guard, HUNG};
use super::record::{self, Outcome, Record, lock};
use super::settings::Settings;
use super::{DNS_PORT, INBOUND_PORT, OUTBOUND_PORT};
use super::{open, system};
use crate::command::output::tell;

/// Between two looks at something that comes soon.
const LOOK: Duration = Duration::from_millis(100);
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// Makes the group this process' own, by which the rules know what it sends. Its other groups go.
pub fn take_group(group: u32) -> anyhow::Result<()> {
    let group = Gid::from_raw(group);
    let taken = nix::unistd::setgroups(&[]).and_then(|()| nix::unistd::setresgid(group, group, group));
    taken.context("the group of captured traffic cannot be taken; run the agent as root, or with CAP_SETGID")
}

/// Keeps the rules of one machine.
pub struct Keep {
    state_dir: PathBuf,
    settings: Settings,
    guard: Mutex<Option<Guard>>,
}

impl Keep {
    pub fn new(state_dir: &Path, settings: Settings) -> Self {
        Self { state_dir: state_dir.to_owned(), settings, guard: Mutex::new(None) }
    }

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
            match self.put_in_force(reach).await {
                Ok(()) => self.stay_guarded().await,
                Err(error) => self.roll_back(format!("{error:#}")).await,
            }
        }
        std::future::pending().await
    }

    /// Takes the rules back at the agent's end.
    pub async fn end(&self) -> anyhow::Result<()> {
        record::release(&self.state_dir).await?;
        if let Some(guard) = self.guard.lock().await.take() {
            guard.end().await;
        }
        Ok(())
    }

    fn is_rolled_back(&self) -> bool {
        record::outcome(&self.state_dir).is_ok_and(|outcome| matches!(outcome, Outcome::RolledBack(_)))
    }

    /// Waits until the proxy takes captured connections, which it does once it has the configuration for them.
    async fn listening(&self) {
        let mut places = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, OUTBOUND_PORT))];
        places.push((Ipv4Addr::LOCALHOST, INBOUND_PORT).into());
        if self.settings.name_servers.iter().any(|server| server.is_ipv4()) {
            places.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        if self.settings.captures_dns_over_ipv6() {
            places.push((Ipv6Addr::LOCALHOST, DNS_PORT).into());
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
        let mut guard = self.guard.lock().await;
        let guard = guard.insert(Guard::start(&self.state_dir, self.settings.grace())?);
        let number = guard.id();
        guard.arm(self.settings.patience()).await?;
        let (state_dir, settings) = (self.state_dir.clone(), self.settings.clone());
        // An end that is asked for meanwhile waits for it by the lock.
        let outcome = tokio::spawn(async move { apply(&state_dir, &settings, number).await }).await??;
        tracing::info!(backend = ?self.settings.backend, mode = ?self.settings.mode, "connections are captured");
        if outcome != Outcome::Confirmed {
            self.reached(reach).await?;
            self.confirm().await?;
            tracing::info!("the control plane was reached with capture in force, which stays");
        }
        guard.confirm().await?;
        Ok(())
    }

    async fn confirm(&self) -> anyhow::Result<()> {
        let _lock = lock(&self.state_dir).await?;
        let record = Record::read(&self.state_dir)?;
        ensure!(record.before.is_some(), HUNG);
        Record { outcome: Outcome::Confirmed, ..record }.write(&self.state_dir)
    }

    /// Succeeds once the control plane was reached by a connection that began after the rules were in force.
    async fn reached<E: std::fmt::Display>(&self, reach: impl AsyncFn() -> Result<(), E>) -> anyhow::Result<()> {
        let patience = self.settings.patience();
        let mut last = "no answer".to_owned();
        let attempts = async {
            while let Err(error) = reach().await {
                last = error.to_string();
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
        };
        let reached = tokio::time::timeout(patience, attempts).await.is_ok();
        ensure!(
            reached,
            "the control plane could not be reached within {} s of it ({last}); the machine stays a member of the mesh \
             without capture",
            patience.as_secs_f32()
        );
        Ok(())
    }

    /// Starts another guard where one was ended.
    async fn stay_guarded(&self) {
        let mut place = self.guard.lock().await;
        while let Some(guard) = place.as_mut() {
            guard.ended().await;
            *place = match self.another_guard().await {
                Ok(guard) => guard,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "capture is not guarded against the agent's death");
                    return;
                }
            };
        }
    }

    /// None where there is nothing to guard any more.
    async fn another_guard(&self) -> anyhow::Result<Option<Guard>> {
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        let _lock = lock(&self.state_dir).await?;
        let mut record = Record::read(&self.state_dir)?;
        if record.before.is_none() {
            return Ok(None);
        }
        tracing::warn!("the guard of capture was ended; another takes its place");
        let guard = Guard::start(&self.state_dir, self.settings.grace())?;
        record.guard = guard.id();
        record.write(&self.state_dir)?;
        Ok(Some(guard))
    }

    async fn roll_back(&self, reason: String) {
        tell(format_args!("capture was rolled back: {reason}"));
        tracing::error!(reason, "capture was rolled back");
        let taken_back = async {
            let _lock = lock(&self.state_dir).await?;
            let mut record = Record::read(&self.state_dir)?;
            record.release(&self.state_dir).await?;
            Record { outcome: Outcome::RolledBack(reason), ..record }.write(&self.state_dir)
        };
        if let Err(error) = taken_back.await {
            tracing::error!(error = format!("{error:#}"), "capture could not be taken back; run weft leave");
        }
    }
}

/// What had become of capture before.
async fn apply(state_dir: &Path, settings: &Settings, guard: Option<u32>) -> anyhow::Result<Outcome> {
    let _lock = lock(state_dir).await?;
    let mut record = Record::read(state_dir)?;
    let are_new = record.before.is_none();
    let before = match record.before.take() {
        // They are still in force, or were when the machine went down.
        Some(before) => before,
        None => system::read(settings).await?,
    };
    record.before = Some(before.clone());
    record.guard = guard;
    record.write(state_dir)?;
    // What was captured before is known.
    if are_new && let Err(error) = tokio::task::spawn_blocking(open::tell).await? {
        tracing::warn!(%error, "not all open connections can be told to the system (nf_conntrack_netlink); they may break");
    }
    system::apply(settings, &before).await?;
    if Record::read(state_dir)?.guard != guard {
        system::release(&before).await?;
        bail!(HUNG);
    }
    Ok(record.outcome)
}
