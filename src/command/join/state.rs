//! What a machine that joined keeps, in a directory of its own: how it joined, and what `weft leave` has to undo.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::api::TrustDomain;
use anyhow::{Context as _, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy::Users;
use proxy::dns::DnsOptions;
use proxy::joined::Joined;
use proxy::workload_api::WorkloadApi;
use runtime::files;
use serde::{Deserialize, Serialize};

use super::unit::Unit;
use crate::command::{capture, dns};

/// How the machine joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joining {
    pub control_plane: String,
    pub trust_domain: String,
    pub member: String,
    pub workload_group: String,
    pub workload: Option<String>,
    pub address: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub locality: Option<String>,
    pub forward: BTreeMap<u16, SocketAddr>,
    /// `ADDR:PORT`, `off`, or as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_dns: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_upstreams: Vec<SocketAddr>,
    pub workers: usize,
    pub drain_ms: u64,
    /// Directories that were not there before, the outermost first: the last is the state's own.
    pub made: Vec<PathBuf>,
    pub unit: Option<Unit>,
    #[serde(default)]
    pub capture: Option<capture::Settings>,
    /// Where programs get the workload's identity, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_api: Option<WorkloadApi>,
    /// Who may use the way out and change the proxy, by name of the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<u32>,
}

impl Joining {
    /// Those who may use the way out: who may change the proxy, and the workload's own users.
    pub fn may_call(&self, users: &Users) -> Users {
        users.and(self.workload_api.as_ref().map_or(&[][..], |api| &api.callers.users[..]))
    }

    /// Whether the agent looks at which program asks for the workload's identity.
    pub fn tells_programs_apart(&self) -> bool {
        self.workload_api.as_ref().is_some_and(|api| !api.callers.paths.is_empty())
    }

    pub fn joined(self, state_dir: &Path) -> anyhow::Result<Joined> {
        let users = Users::told(&self.allow_users)?;
        let way_out = users.as_ref().map(|users| self.may_call(users));
        let listen = dns::of_words(self.listen_dns.as_deref()).map_err(|rule| anyhow!("listen_dns: {rule}"))?;
        Ok(Joined {
            state_dir: state_dir.to_owned(),
            trust_domain: TrustDomain::new(&self.trust_domain)?,
            control_plane: self.control_plane,
            workload: self.workload,
            address: self.address,
            labels: self.labels,
            locality: self.locality,
            forward: self.forward,
            dns: DnsOptions {
                listen,
                upstreams: self.dns_upstreams,
                captured_ipv6: self.capture.as_ref().is_some_and(capture::Settings::captures_dns_over_ipv6),
            },
            capture: self.capture.as_ref().map(capture::Settings::of_proxy),
            workload_api: self.workload_api,
            users,
            way_out,
            workers: self.workers,
            drain: Duration::from_millis(self.drain_ms),
        })
    }
}

/// The directory.
pub struct State(PathBuf);

impl State {
    pub fn at(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self(std::path::absolute(dir)?))
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    fn file(&self) -> PathBuf {
        self.0.join("join.json")
    }

    /// Makes the directory, open to its owner alone; which directories were not there, the outermost first.
    pub fn make(&self) -> anyhow::Result<Vec<PathBuf>> {
        let made = missing(&self.0);
        files::create_private_dir(&self.0).with_context(|| {
            format!("{} cannot be made; run weft join as root, or give --state-dir", self.0.display())
        })?;
        Ok(made)
    }

    pub fn read(&self) -> anyhow::Result<Option<Joining>> {
        let unreadable = || format!("{} cannot be read", self.file().display());
        match fs::read(self.file()) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(unreadable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(unreadable),
        }
    }

    pub fn write(&self, joining: &Joining) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(joining)?;
        files::write_atomic(&self.file(), &text, files::PRIVATE)
            .with_context(|| format!("{} cannot be written", self.file().display()))
    }

    /// Makes this process the agent of the directory, for as long as the file is open.
    pub fn lock(&self) -> anyhow::Result<File> {
        let mut file = self.open_lock()?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                Ok(file)
            }
            Err(TryLockError::WouldBlock) => bail!("the agent of {} runs already", self.0.display()),
            Err(TryLockError::Error(error)) => Err(error).context("the agent's lock cannot be taken"),
        }
    }

    fn open_lock(&self) -> anyhow::Result<File> {
        let path = self.0.join("agent.lock");
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        opened.with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Ends the agent that runs on the directory, if one does.
    pub async fn stop_agent(&self) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let file = self.open_lock()?;
        let deadline = Instant::now() + PATIENCE;
        let mut asked = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error).context("the agent's lock cannot be taken"),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    bail!("the agent of {} does not end", self.0.display())
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut asked, true)
                && let Some(pid) = fs::read_to_string(self.0.join("agent.lock")).ok().and_then(|pid| pid.parse().ok())
            {
                // It holds the lock, so the number is still its own.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes everything away that a member keeps, and the directories that joining made.
    pub fn remove(&self, made: &[PathBuf]) -> anyhow::Result<()> {
        const KEPT: [&str; 9] = [
            "key.pem",
            "next-key.pem",
            "cert-chain.pem",
            "root-cert.pem",
            "member.pb",
            "agent.lock",
            "snapshot",
            capture::FILE,
            "join.json",
        ];
        for name in KEPT {
            let path = self.0.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        remove_empty(made);
        Ok(())
    }
}

/// A directory and those above it that are not there, the outermost first.
pub fn missing(directory: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> =
        directory.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// What somebody else uses by now stays.
pub fn remove_empty(directories: &[PathBuf]) {
    for directory in directories.iter().rev() {
        let _ = fs::remove_dir(directory);
    }
}
