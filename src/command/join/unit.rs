//! The systemd unit of a machine that joined: it keeps the agent running through failures and reboots.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use runtime::files;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::state::{Joining, missing, remove_empty};
use crate::command::sidecar;

const NAME: &str = "weft.service";
const UNITS: &str = "etc/systemd/system";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// The unit's files, as they are written and taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    path: PathBuf,
    text: String,
    /// What starts it at boot.
    link: PathBuf,
    /// Directories that were not there before, the outermost first.
    made: Vec<PathBuf>,
}

impl Unit {
    /// `root` stands before all its paths.
    pub fn new(state_dir: &Path, root: Option<&Path>, joining: &Joining) -> anyhow::Result<Self> {
        let root = std::path::absolute(root.unwrap_or(Path::new("/")))?;
        let program = std::env::current_exe().context("this program's own path cannot be told")?;
        let (units, wants) = (root.join(UNITS), root.join(WANTS));
        Ok(Self {
            path: units.join(NAME),
            text: text(&program, state_dir, joining.capture.is_some(), joining.tells_programs_apart()),
            link: wants.join(NAME),
            made: missing(&wants),
        })
    }

    /// Takes over what an earlier join had made.
    pub fn remember(&mut self, before: &Self) {
        if before.link == self.link {
            self.made.clone_from(&before.made);
        }
    }

    /// True if anything was not as it should be.
    pub fn write(&self) -> anyhow::Result<bool> {
        let unwritable = |path: &Path| format!("{} cannot be written; run weft join as root", path.display());
        if let Some(wants) = self.link.parent() {
            fs::create_dir_all(wants).with_context(|| unwritable(wants))?;
        }
        let same = fs::read_to_string(&self.path).is_ok_and(|text| text == self.text);
        if !same {
            files::write_atomic(&self.path, self.text.as_bytes(), files::PUBLIC)
                .with_context(|| unwritable(&self.path))?;
        }
        let target = Path::new("/").join(UNITS).join(NAME);
        let linked = fs::read_link(&self.link).is_ok_and(|found| found == target);
        if !linked {
            let _ = fs::remove_file(&self.link);
            symlink(&target, &self.link).with_context(|| unwritable(&self.link))?;
        }
        Ok(!same || !linked)
    }

    pub fn remove(&self) -> anyhow::Result<()> {
        for path in [&self.link, &self.path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        remove_empty(&self.made);
        Ok(())
    }
}

/// Root's capabilities are cut down to what a proxy on ports below 1024 needs, and where it captures, to what the packet
/// filter and a group of its own need, and where it tells programs apart, to see which one a process of another user runs
/// (proc_pid_exe(5)). Should the agent come to a bad end, its guard stays to give the next agent the
/// rules or to take them back; where the guard is gone too, they go before the next start.
fn text(program: &Path, state_dir: &Path, captures: bool, tells_apart: bool) -> String {
    let (program, state) = (quoted(program), quoted(state_dir));
    let (capabilities, after, restart) = match captures {
        true => (
            " CAP_NET_ADMIN CAP_NET_RAW CAP_SETGID",
            format!(
                "ExecStopPost={program} agent --state-dir {state} --end-capture --unless-guarded\n\
                 KillMode=process\n"
            ),
            // Within the grace that the guard gives.
            1,
        ),
        false => ("", String::new(), 5),
    };
    let looking = if tells_apart { " CAP_SYS_PTRACE" } else { "" };
    format!(
        "[Unit]\n\
         Description=weft agent: this machine's workload in the mesh\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={program} agent --state-dir {state}\n\
         {after}\
         Restart=always\n\
         RestartSec={restart}\n\
         TimeoutStopSec=30\n\
         LimitNOFILE=1048576\n\
         NoNewPrivileges=yes\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE{capabilities}{looking}\n\
         ProtectSystem=full\n\
         ProtectKernelTunables=yes\n\
         ProtectControlGroups=yes\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// As a word of a command line of systemd, which reads quotes, variables and specifiers in it (systemd.service(5)).
fn quoted(path: &Path) -> String {
    let escaped = path.to_string_lossy().replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('%', "%%").replace('$', "$$"))
}

/// What starts the unit: nothing, where only its files are wanted.
pub struct Systemd {
    running: bool,
}

impl Systemd {
    /// `None`: no unit can be installed here.
    pub fn find(root: Option<&Path>) -> Option<Self> {
        match root {
            Some(_) => Some(Self { running: false }),
            None => can_install().then_some(Self { running: true }),
        }
    }

    /// What runs a unit that was written: nothing, where that was for another machine's files.
    pub fn of(unit: &Unit) -> Self {
        Self { running: can_install() && unit.path == Path::new("/").join(UNITS).join(NAME) }
    }

    pub async fn start(&self, changed: bool) -> anyhow::Result<()> {
        if !self.running {
            return Ok(());
        }
        systemctl(&["daemon-reload"]).await?;
        systemctl(&[if changed { "restart" } else { "start" }, NAME]).await
    }

    /// Ends what the unit runs. One that systemd does not know runs nothing.
    pub async fn stop(&self) -> anyhow::Result<()> {
        if self.running { systemctl(&["stop", NAME]).await } else { Ok(()) }
    }

    /// Has systemd forget a unit that is gone.
    pub async fn reload(&self) -> anyhow::Result<()> {
        if self.running { systemctl(&["daemon-reload"]).await } else { Ok(()) }
    }

    pub fn told(&self, state_dir: &Path, own: IpAddr) -> String {
        let ready = SocketAddr::new(own, sidecar::READINESS);
        match self.running {
            true => format!("{NAME} runs it, now and after each boot; ready when http://{ready}/healthz/ready says so"),
            false => format!("{NAME} will start it at the next boot; its state is in {}", state_dir.display()),
        }
    }
}

/// As sd_booted(3) has it.
fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn can_install() -> bool {
    is_running() && nix::unistd::geteuid().is_root()
}

/// Why no unit was installed.
pub fn why_not() -> &'static str {
    if is_running() { "only root installs a systemd unit" } else { "systemd does not run here" }
}

/// What systemctl ends with where there is no such unit (systemctl(1)).
const NOT_LOADED: i32 = 5;

async fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output().await;
    let output = output.context("systemctl cannot be started")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if arguments[0] == "stop" && output.status.code() == Some(NOT_LOADED) {
        return Ok(());
    }
    ensure!(output.status.success(), "systemctl {} failed: {}", arguments.join(" "), told.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a setting, in the order of its lines.
    fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
    }

    #[test]
    fn an_agent_without_capture_is_started_again_with_no_more_rights_than_a_proxy_needs() {
        let text = text(Path::new("/usr/bin/weft"), Path::new("/var/lib/weft"), false, false);
        assert_eq!(values(&text, "ExecStart"), [r#""/usr/bin/weft" agent --state-dir "/var/lib/weft""#]);
        assert_eq!(values(&text, "Restart"), ["always"]);
        assert_eq!(values(&text, "RestartSec"), ["5"]);
        // However often it ends.
        assert_eq!(values(&text, "StartLimitIntervalSec"), ["0"]);
        assert_eq!(values(&text, "CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE"]);
        assert_eq!(values(&text, "WantedBy"), ["multi-user.target"]);
        assert!(values(&text, "KillMode").is_empty() && values(&text, "ExecStopPost").is_empty());
    }

    #[test]
    fn with_capture_the_guard_outlives_the_agent_and_stranded_rules_go_before_the_next_start() {
        let text = text(Path::new("/usr/bin/weft"), Path::new("/var/lib/weft"), true, false);
        assert_eq!(values(&text, "KillMode"), ["process"]);
        let stop = r#""/usr/bin/weft" agent --state-dir "/var/lib/weft" --end-capture --unless-guarded"#;
        assert_eq!(values(&text, "ExecStopPost"), [stop]);
        // Sooner than the guard gives up, which is after ten seconds unless told otherwise.
        assert_eq!(values(&text, "RestartSec"), ["1"]);
        assert!(values(&text, "CapabilityBoundingSet")[0].ends_with("CAP_NET_ADMIN CAP_NET_RAW CAP_SETGID"));
    }

    #[test]
    fn who_tells_programs_apart_may_see_which_one_a_process_runs() {
        let text = text(Path::new("/usr/bin/weft"), Path::new("/var/lib/weft"), false, true);
        assert!(values(&text, "CapabilityBoundingSet")[0].ends_with(" CAP_SYS_PTRACE"));
    }

    #[test]
    fn paths_are_what_they_are_to_systemd_too() {
        assert_eq!(quoted(Path::new(r#"/a b/50%/$HOME/"\"#)), r#""/a b/50%%/$$HOME/\"\\""#);
    }
}
