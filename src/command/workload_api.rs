//! The options of the socket where programs get the identity of their workload, and who those programs are.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use nix::unistd::geteuid;
use proxy::workload_api::{SOCKET, Selectors, WorkloadApi};

use super::failure::{Exit, Failure};
use super::words;

#[derive(Clone, Debug, Default, Args)]
pub struct WorkloadApiFlags {
    /// Give the workload's programs its identity on a Unix socket: the SPIFFE Workload API, and secrets for Envoy
    /// [default: no socket; without a PATH, /run/weft/workload.sock]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = SOCKET)]
    workload_socket: Option<PathBuf>,
    /// A user whose programs get it, by name or number; may be repeated [default: the user who runs the agent]
    #[arg(long = "workload-user", value_name = "USER", requires = "workload_socket")]
    users: Vec<String>,
    /// Only this program of those users gets it; may be repeated [default: all of them]
    #[arg(long = "workload-program", value_name = "PATH", requires = "workload_socket")]
    programs: Vec<PathBuf>,
    /// Only this systemd unit of those users gets it; may be repeated [default: all of them]
    #[arg(long = "workload-unit", value_name = "NAME.service", requires = "workload_socket")]
    units: Vec<String>,
}

impl WorkloadApiFlags {
    pub fn given(&self) -> anyhow::Result<Option<WorkloadApi>> {
        let Some(socket) = &self.workload_socket else { return Ok(None) };
        let users: anyhow::Result<Vec<u32>> = self.users.iter().map(|user| uid(user)).collect();
        let mut callers = Selectors { users: users?, ..programs(&self.programs, &self.units)? };
        if callers.users.is_empty() {
            callers.users.push(geteuid().as_raw());
        }
        Ok(Some(WorkloadApi { socket: absolute(socket)?, callers }))
    }
}

/// A socket's path as it is bound.
pub fn absolute(socket: &Path) -> anyhow::Result<PathBuf> {
    /// Of `sun_path` in sockaddr_un, without its end (unix(7)).
    const LONGEST: usize = 107;
    let path = std::path::absolute(socket)?;
    let wrong = || format!("{} is too long for a socket: {LONGEST} bytes at most", path.display());
    ensure!(path.as_os_str().len() <= LONGEST, Failure::new(Exit::Usage, wrong()));
    Ok(path)
}

/// What is asked of programs beside their user.
pub fn programs(paths: &[PathBuf], units: &[String]) -> anyhow::Result<Selectors> {
    for path in paths {
        let wrong = || format!("{} is no program of this machine; give its whole path", path.display());
        ensure!(path.is_absolute() && path.is_file(), Failure::new(Exit::Rejected, wrong()));
    }
    for unit in units {
        let wrong = || format!("{unit:?} is no systemd unit with programs; write it as NAME.service or NAME.scope");
        let is_unit = [".service", ".scope"].iter().any(|kind| unit.len() > kind.len() && unit.ends_with(kind));
        ensure!(is_unit && !unit.contains('/'), Failure::new(Exit::Rejected, wrong()));
    }
    Ok(Selectors { users: Vec::new(), paths: paths.to_vec(), units: units.to_vec() })
}

/// How programs are told of the socket (SPIFFE Workload Endpoint, section 4).
pub fn endpoint(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// For people.
pub fn told(socket: &Path) -> String {
    format!("SPIFFE_ENDPOINT_SOCKET={}", endpoint(socket))
}

/// The number of a user who is named or numbered.
pub fn uid(user: &str) -> anyhow::Result<u32> {
    words::uid(user).map_err(|told| Failure::new(Exit::Rejected, told).into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: WorkloadApiFlags,
    }

    fn given(words: &[&str]) -> anyhow::Result<Option<WorkloadApi>> {
        Line::try_parse_from([&["x"], words].concat())?.flags.given()
    }

    #[test]
    fn without_the_option_there_is_no_socket_and_with_it_only_the_own_user_is_served() {
        assert_eq!(given(&[]).unwrap(), None);
        let api = given(&["--workload-socket"]).unwrap().unwrap();
        assert_eq!((api.socket.as_path(), api.callers), (Path::new(SOCKET), Selectors::user(geteuid().as_raw())));
        assert!(given(&["--workload-user", "root"]).is_err());
    }

    #[test]
    fn programs_are_named_by_user_path_and_unit() {
        let words = ["--workload-socket=/tmp/a.sock", "--workload-user=root", "--workload-user", "7"];
        let api = given(&[&words[..], &["--workload-program=/bin/sh", "--workload-unit=a.service"]].concat());
        let Selectors { users, paths, units } = api.unwrap().unwrap().callers;
        assert_eq!((users, paths, units), (vec![0, 7], vec!["/bin/sh".into()], vec!["a.service".to_owned()]));
        for wrong in [
            "--workload-user=nobody-of-the-kind",
            "--workload-program=sh",
            "--workload-program=/no/such",
            "--workload-unit=a",
            "--workload-unit=.service",
        ] {
            assert!(given(&["--workload-socket", wrong]).is_err(), "{wrong}");
        }
        let long = format!("--workload-socket=/{}", "a".repeat(107));
        assert!(given(&[&long]).err().unwrap().to_string().contains("too long"));
    }
}
