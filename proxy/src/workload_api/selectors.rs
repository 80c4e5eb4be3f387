//! By what the programs of a workload are known.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Caller;
use super::caller::FileId;

/// A caller is taken if it fits one of each kind that is given. Without a user nobody is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selectors {
    pub users: Vec<u32>,
    /// Programs: the very files that these names have now.
    pub paths: Vec<PathBuf>,
    /// Names of systemd units.
    pub units: Vec<String>,
}

impl Selectors {
    pub fn user(uid: u32) -> Self {
        Self { users: vec![uid], ..Self::default() }
    }

    pub fn fit(&self, caller: &Caller) -> bool {
        self.users.contains(&caller.uid) && self.runs(caller) && self.is_of_unit(caller)
    }

    fn runs(&self, caller: &Caller) -> bool {
        if self.paths.is_empty() {
            return true;
        }
        let Some(runs) = caller.executable() else { return false };
        self.paths.iter().any(|path| fs::metadata(path).is_ok_and(|file| FileId::of(&file) == runs))
    }

    fn is_of_unit(&self, caller: &Caller) -> bool {
        self.units.is_empty() || caller.unit().is_some_and(|unit| self.units.iter().any(|own| own == unit))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_named_users_are_taken_and_without_any_nobody_is() {
        assert!(Selectors::user(7).fit(&Caller::user(7)));
        assert!(!Selectors::user(7).fit(&Caller::user(8)));
        assert!(!Selectors::default().fit(&Caller::user(0)));
    }

    #[tokio::test]
    async fn a_program_is_the_file_not_its_name() {
        let (one, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&one).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let copy = folder.path().join("program");
        std::fs::write(&copy, "another").unwrap();
        let with = |path: &PathBuf| Selectors { paths: vec![path.clone()], ..Selectors::user(caller.uid) };
        assert!(with(&own).fit(&caller) && with(&link).fit(&caller));
        assert!(!with(&copy).fit(&caller) && !with(&folder.path().join("missing")).fit(&caller));
        let both = Selectors { paths: vec![copy, own], ..Selectors::user(caller.uid) };
        assert!(both.fit(&caller));
        assert!(!Selectors { users: vec![caller.uid + 1], ..both }.fit(&caller));
    }

    #[tokio::test]
    async fn a_caller_of_no_such_unit_is_refused() {
        let (one, _other) = UnixStream::pair().unwrap();
        let caller = Caller::of(&one).unwrap();
        let of = |unit: &str| Selectors { units: vec![unit.to_owned()], ..Selectors::user(caller.uid) };
        assert!(!of("no-such-unit.service").fit(&caller));
        assert!(caller.unit().is_none_or(|unit| of(unit).fit(&caller)));
    }
}
