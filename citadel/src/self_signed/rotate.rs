//! From one root to the next, a step at a time: a root is made (staged), vouched for (distributed), signs (signing), and
//! the old one goes. Each step is one atomic write of `rotation.json`, and each but the last has a way back. Whether a
//! step may be taken yet is decided elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use api::TrustDomain;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use store::StoreError;

use super::files::{Directory, OpenError};
use super::{Intermediate, Root, SelfSigned};
use crate::{Disagreement, TrustBundle, sha256};

/// How far the change of roots is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// There is one root.
    #[default]
    Idle,
    /// The next root is made, and nobody knows it.
    Staged,
    /// The trust bundle has both; the old one signs.
    Distributed,
    /// The trust bundle has both; the new one signs.
    Signing,
}

/// `rotation.json`: the names of the roots' files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    signing: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    phase: Phase,
}

impl Plan {
    /// The names of all roots.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.signing.as_str()).chain(self.other.as_deref())
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { signing: "root".to_owned(), other: None, phase: Phase::Idle }
    }
}

/// What the authority has in hand.
pub(super) struct Keys {
    pub root: Arc<Root>,
    /// The next root, or the one before.
    pub other: Option<Arc<Root>>,
    pub phase: Phase,
    pub intermediate: Arc<Intermediate>,
    /// To be trusted besides; of an authority that is plugged in.
    more: Vec<CertificateDer<'static>>,
}

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("no change of roots is under way, so there is no way back; begin one with `weft ca rotate`")]
    NothingToUndo,
    #[error(
        "the authority's files are somebody else's: put others there, and they are taken up once nobody would be cut off \
         by them. First both roots into root-cert.pem, then what the new one signed, then the new root alone, each at every \
         control plane; the way back is to put the old files there again; `weft ca status` says who has not followed yet"
    )]
    PluggedIn,
    #[error("another step was taken at the same time; see `weft ca status`")]
    Meanwhile,
    #[error(
        "the mesh in this store has another root of trust ({known}) than this control plane ({own}): copy the directory {} \
         of a control plane of that mesh here, or give --store another prefix", directory.display()
    )]
    Foreign { known: String, own: String, directory: PathBuf },
    #[error("the key of the next root cannot be sealed, or opened with the key of the root that is here")]
    Sealing,
    #[error("what the store has of the change of roots (ca/rotation) cannot be used: {0}")]
    Record(String),
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Keys {
    pub fn open(directory: &Directory, trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, OpenError> {
        let plan = directory.plan()?;
        let load = |name: &str| directory.load_or_make_root(name, trust_domain, now).map(Arc::new);
        let root = load(&plan.signing)?;
        let other = plan.other.as_deref().map(load).transpose()?;
        let intermediate = match directory.load_intermediate(&root, now)? {
            Some(intermediate) if !intermediate.is_due(now) => intermediate,
            _ => directory.make_intermediate(&root, trust_domain, now)?,
        };
        Ok(Self { root, other, phase: plan.phase, intermediate: Arc::new(intermediate), more: Vec::new() })
    }

    /// Of files that are somebody else's.
    pub fn plugged(root: Root, intermediate: Intermediate, more: Vec<CertificateDer<'static>>) -> Self {
        Self { root: Arc::new(root), other: None, phase: Phase::Idle, intermediate: Arc::new(intermediate), more }
    }

    /// The root that signs comes first.
    pub fn bundle(&self) -> TrustBundle {
        let other = self.other.iter().filter(|_| self.phase != Phase::Staged);
        let roots = std::iter::once(&self.root).chain(other).map(|root| root.certificate.clone());
        TrustBundle { roots: roots.chain(self.more.iter().cloned()).collect() }
    }

    /// Those that are in the authority's directory.
    pub fn roots(&self) -> impl Iterator<Item = &Arc<Root>> {
        std::iter::once(&self.root).chain(&self.other)
    }

    fn plan(&self) -> Plan {
        let other = self.other.as_ref().map(|root| root.name.clone());
        Plan { signing: self.root.name.clone(), other, phase: self.phase }
    }
}

impl SelfSigned {
    pub fn phase(&self) -> Phase {
        self.keys().phase
    }

    /// SHA-256 of the root that signs now, in hexadecimal.
    pub fn signing_root(&self) -> String {
        sha256(&self.keys().root.certificate)
    }

    /// Takes the next step; what it was before, it stays if that fails.
    pub fn advance(&self) -> Result<Phase, StepError> {
        if self.plugged.is_some() {
            return Err(StepError::PluggedIn);
        }
        let now = self.clock.now();
        let mut keys = self.keys();
        let (root, other) = (Arc::clone(&keys.root), keys.other.clone());
        match (keys.phase, other) {
            (Phase::Staged, Some(next)) => self.settle(&mut keys, root, Some(next), Phase::Distributed, now)?,
            (Phase::Distributed, Some(next)) => self.settle(&mut keys, next, Some(root), Phase::Signing, now)?,
            (Phase::Signing, Some(old)) => {
                self.settle(&mut keys, root, None, Phase::Idle, now)?;
                self.directory.discard_root(&old.name);
            }
            (_, _) => {
                let name = format!("root-{:08x}", rand::random::<u32>());
                let next = Arc::new(self.directory.load_or_make_root(&name, &self.trust_domain, now)?);
                self.settle(&mut keys, root, Some(next), Phase::Staged, now)?;
            }
        }
        Ok(keys.phase)
    }

    /// Takes the last step back.
    pub fn step_back(&self) -> Result<Phase, StepError> {
        if self.plugged.is_some() {
            return Err(StepError::PluggedIn);
        }
        let now = self.clock.now();
        let mut keys = self.keys();
        let root = Arc::clone(&keys.root);
        match (keys.phase, keys.other.clone()) {
            (Phase::Staged, Some(next)) => {
                self.settle(&mut keys, root, None, Phase::Idle, now)?;
                self.directory.discard_root(&next.name);
            }
            (Phase::Distributed, Some(next)) => self.settle(&mut keys, root, Some(next), Phase::Staged, now)?,
            (Phase::Signing, Some(old)) => self.settle(&mut keys, old, Some(root), Phase::Distributed, now)?,
            (_, _) => return Err(StepError::NothingToUndo),
        }
        Ok(keys.phase)
    }

    /// Puts roots in force. The intermediate is made before the plan is written: after a crash between the two, the one
    /// that does not fit the root is made anew.
    pub(super) fn settle(
        &self,
        keys: &mut Keys,
        root: Arc<Root>,
        other: Option<Arc<Root>>,
        phase: Phase,
        now: SystemTime,
    ) -> Result<(), StepError> {
        let intermediate = if root.name == keys.root.name {
            Arc::clone(&keys.intermediate)
        } else {
            Arc::new(self.directory.make_intermediate(&root, &self.trust_domain, now)?)
        };
        let settled = Keys { root, other, phase, intermediate, more: Vec::new() };
        self.directory.set_plan(&settled.plan())?;
        *keys = settled;
        tracing::info!(?phase, root = sha256(&keys.root.certificate), "the change of roots went on");
        self.bundle.send_replace(Arc::new(keys.bundle()));
        Ok(())
    }
}
