//! Where everything of one mesh lies on this machine.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::{Exit, Failure};

/// The data directory, which every verb takes to find the right mesh.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Where the control plane is; the file is written when it is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub api: String,
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

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("control-plane/store")
    }

    pub fn authority(&self) -> PathBuf {
        self.0.join("control-plane/ca")
    }

    pub fn address_file(&self) -> PathBuf {
        self.0.join("control-plane/address.json")
    }

    /// The API token of this machine's operator.
    pub fn token_file(&self) -> PathBuf {
        self.0.join("token")
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    pub fn workload(&self, name: &str) -> PathBuf {
        self.0.join("workloads").join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// What the supervisor keeps: its state, its control socket.
    pub fn run(&self, file: &str) -> PathBuf {
        self.0.join("run").join(file)
    }

    /// The address of the control plane that last ran on this directory, if one did.
    pub fn address(&self) -> Option<Address> {
        serde_json::from_slice(&std::fs::read(self.address_file()).ok()?).ok()
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
}
