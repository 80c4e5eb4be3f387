//! Where everything of one mesh lies on this machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use runtime::files;
use serde::{Deserialize, Serialize};

use super::failure::{Exit, Failure};

/// The data directory, which every verb takes to find the right mesh.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Where the control plane is; the file is written when it is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub api: String,
    /// SHA-256 of the API's certificate, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_pin: Option<String>,
    pub xds: String,
    pub metrics: String,
    pub pid: u32,
    pub version: String,
}

impl DataDir {
    /// The directory given, else the user's own.
    pub fn locate(given: Option<PathBuf>) -> anyhow::Result<Self> {
        let state = || std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
        let path = given.or_else(|| Some(state().or_else(home)?.join("weft")));
        let path = path.ok_or_else(|| Failure::new(Exit::Usage, "there is no home directory; give --data-dir DIR"))?;
        Ok(Self(std::path::absolute(path)?))
    }

    /// Makes a directory of the mesh's, or the data directory itself, if it is not there.
    pub fn make(&self, directory: &Path) -> anyhow::Result<()> {
        let made = files::create_private_dir(&self.0).and_then(|()| files::create_private_dir(directory));
        made.with_context(|| {
            let place = self.0.display();
            format!("the data directory {place} cannot be written; give another one with --data-dir")
        })
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("control-plane/store")
    }

    pub fn authority(&self) -> PathBuf {
        self.0.join("control-plane/ca")
    }

    /// The name of this directory's control plane among those that share a store; made when it is first asked for.
    pub fn replica(&self) -> anyhow::Result<String> {
        let file = self.0.join("control-plane/replica");
        match fs::read_to_string(&file) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be read", file.display()));
            }
            _ => {}
        }
        let name = format!("{:016x}", std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &self.0));
        self.make(&self.0.join("control-plane"))?;
        files::write_atomic(&file, format!("{name}\n").as_bytes(), files::PRIVATE)?;
        Ok(name)
    }

    pub fn address_file(&self) -> PathBuf {
        self.0.join("control-plane/address.json")
    }

    pub fn audit(&self) -> PathBuf {
        self.0.join("control-plane/audit.jsonl")
    }

    /// The API token of this machine's operator.
    pub fn token_file(&self) -> PathBuf {
        self.0.join("token")
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    /// What a workload keeps. Neither a namespace nor a name has a dot in it.
    pub fn workload(&self, namespace: &str, name: &str) -> PathBuf {
        let workloads = self.0.join("workloads");
        if namespace == "default" { workloads.join(name) } else { workloads.join(format!("{namespace}.{name}")) }
    }

    /// Makes the workload's directory its own for as long as the file is open.
    pub fn lock_workload(&self, namespace: &str, name: &str) -> anyhow::Result<File> {
        let directory = self.workload(namespace, name);
        self.make(&directory)?;
        let path = directory.join("lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.with_context(|| format!("{} cannot be written", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "workload {name:?} already runs on this machine; give this one another name, by --name or as \
                     `name` in the file of a node proxy"
                )
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// What the supervisor keeps: its state, its control socket.
    pub fn run(&self, file: &str) -> PathBuf {
        self.0.join("run").join(file)
    }

    /// The address of the control plane that last ran on this directory, if one did.
    pub fn address(&self) -> anyhow::Result<Option<Address>> {
        let file = self.address_file();
        let unreadable = || format!("{} cannot be read", file.display());
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).with_context(unreadable),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_given_is_made_absolute() {
        let data = DataDir::locate(Some("mesh".into())).unwrap();
        assert!(data.path().is_absolute() && data.path().ends_with("mesh"));
        assert!(data.log("reviews-v1").ends_with("mesh/log/reviews-v1.log"));
    }

    #[test]
    fn a_workload_runs_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::locate(Some(dir.path().into())).unwrap();
        let first = data.lock_workload("default", "dup").unwrap();
        let refused = data.lock_workload("default", "dup").unwrap_err();
        assert!(refused.to_string().starts_with("workload \"dup\" already runs on this machine; give"), "{refused}");
        data.lock_workload("other", "dup").unwrap();
        drop(first);
        data.lock_workload("default", "dup").unwrap();
    }

    #[test]
    fn an_address_that_cannot_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::locate(Some(dir.path().into())).unwrap();
        assert_eq!(data.address().unwrap(), None);
        fs::create_dir_all(data.address_file()).unwrap();
        assert!(data.address().unwrap_err().to_string().ends_with("address.json cannot be read"));
    }
}
