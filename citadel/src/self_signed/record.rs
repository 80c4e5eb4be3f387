//! How far the change of roots is, for all control planes of a store: one record, written by whoever is asked for a step
//! and followed by all, each of which takes the same step in files of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use store::{StoreError, Transaction};

use super::rotate::{Keys, Phase, StepError};
use super::{Root, SelfSigned, sealed};
use crate::{TrustBundle, sha256};

const KEY: &str = "ca/rotation";
/// Where a store that control planes share has the SHA-256 of the root that signs, in hexadecimal.
pub const ROOT: &str = "ca/root";

/// Roots are told by their SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Another for each step.
    pub generation: u64,
    pub phase: Phase,
    signing: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    /// The root that was made last, for those who do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<Made>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Of its files: `root-0123abcd`
    name: String,
    /// DER in base64.
    certificate: String,
    /// The root whose key opens `key`.
    sealed_under: String,
    /// Nonce and ciphertext in base64.
    key: String,
}

/// What a record says, in roots that are here.
struct Shape {
    root: Arc<Root>,
    other: Option<Arc<Root>>,
    phase: Phase,
}

impl Record {
    /// The next phase after one in which there is another root already.
    fn advanced(&self) -> Self {
        let (phase, swap) = match self.phase {
            Phase::Idle | Phase::Staged => (Phase::Distributed, false),
            Phase::Distributed => (Phase::Signing, true),
            Phase::Signing => (Phase::Idle, false),
        };
        self.step(phase, swap)
    }

    fn back(&self) -> Option<Self> {
        match self.phase {
            Phase::Idle => None,
            Phase::Staged => Some(Self { made: None, ..self.step(Phase::Idle, false) }),
            Phase::Distributed => Some(self.step(Phase::Staged, false)),
            Phase::Signing => Some(self.step(Phase::Distributed, true)),
        }
    }

    fn step(&self, phase: Phase, swap: bool) -> Self {
        let mut next = Self { generation: self.generation + 1, phase, ..self.clone() };
        if let Some(other) = next.other.as_mut().filter(|_| swap) {
            std::mem::swap(&mut next.signing, other);
        }
        next.other = next.other.filter(|_| phase != Phase::Idle);
        next
    }
}

impl SelfSigned {
    /// Whether steps are taken by the record: other control planes have files of the same roots.
    pub(crate) fn is_recorded(&self) -> bool {
        self.plugged.is_none() && self.ledger.store().is_shared()
    }

    /// Which step this control plane has followed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Takes the step that the record has, if it is not taken; whether there is a record. At a start before anything is
    /// told to others.
    pub async fn catch_up(&self) -> Result<bool, StepError> {
        if !self.is_recorded() {
            return Ok(false);
        }
        let (record, revision) = self.record().await?;
        self.follow(&record).await?;
        Ok(revision > 0)
    }

    /// The record and its revision; as things are here if there is none.
    async fn record(&self) -> Result<(Record, u64), StepError> {
        let Some(entry) = self.ledger.store().get(KEY).await? else {
            let keys = self.keys();
            let other = keys.other.as_ref().map(|root| sha256(&root.certificate));
            let signing = sha256(&keys.root.certificate);
            return Ok((Record { generation: 0, phase: keys.phase, signing, other, made: None }, 0));
        };
        let unreadable = |error: serde_json::Error| StepError::Record(error.to_string());
        Ok((serde_json::from_slice(&entry.value).map_err(unreadable)?, entry.revision))
    }

    /// The next step for all control planes, written down and taken here; `from`: the one that it follows upon.
    pub(crate) async fn advance_all(&self, from: u64) -> Result<(), StepError> {
        let (record, revision) = self.record_of(from).await?;
        if record.phase != Phase::Idle {
            return self.write(record.advanced(), revision).await;
        }
        let (root, next) = self.make_next(&record)?;
        let written = self.write(next, revision).await;
        // What nobody else knows of is of no use.
        if matches!(written, Err(StepError::Meanwhile | StepError::Store(_))) {
            self.directory.discard_root(&root.name);
        }
        written
    }

    /// One step back for all, from this one.
    pub(crate) async fn step_back_all(&self, from: u64) -> Result<(), StepError> {
        let (record, revision) = self.record_of(from).await?;
        self.write(record.back().ok_or(StepError::NothingToUndo)?, revision).await
    }

    /// The record, if it still has the step for which it was decided that another may be taken.
    async fn record_of(&self, generation: u64) -> Result<(Record, u64), StepError> {
        let (record, revision) = self.record().await?;
        if record.generation == generation { Ok((record, revision)) } else { Err(StepError::Meanwhile) }
    }

    /// Makes another root, and what the store gets of it.
    fn make_next(&self, record: &Record) -> Result<(Root, Record), StepError> {
        let name = format!("root-{:08x}", rand::random::<u32>());
        let root = self.directory.load_or_make_root(&name, &self.trust_domain, self.clock.now())?;
        let pin = sha256(&root.certificate);
        let [key, under] = [&name, &self.keys().root.name].map(|name| self.directory.root_key(name));
        let sealed = sealed::seal(&key?, &under?, &place(&pin)).map_err(|_| StepError::Sealing)?;
        let made = Made {
            name,
            certificate: STANDARD.encode(&root.certificate),
            sealed_under: record.signing.clone(),
            key: STANDARD.encode(sealed),
        };
        let next = Record { other: Some(pin), made: Some(made), ..record.step(Phase::Staged, false) };
        Ok((root, next))
    }

    /// By compare and swap: of two who are asked at once, one is refused.
    async fn write(&self, next: Record, revision: u64) -> Result<(), StepError> {
        let value = serde_json::to_vec(&next).map_err(|error| StepError::Record(error.to_string()))?;
        let mut transaction = Transaction::put(KEY, value).expecting(KEY, revision);
        transaction.put.push((ROOT.to_owned(), next.signing.clone().into()));
        match self.ledger.store().commit(transaction).await {
            Ok(_) => match self.follow(&next).await {
                // It is written, and will be taken here too.
                Err(error @ StepError::Disagreement(_)) => {
                    tracing::warn!(%error, "the step waits for other control planes to take it");
                    Ok(())
                }
                followed => followed,
            },
            Err(StoreError::Conflict { .. }) => Err(StepError::Meanwhile),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts in force here what the record says, if the other control planes agree. The same again changes nothing.
    async fn follow(&self, record: &Record) -> Result<(), StepError> {
        let _one = self.stepping.lock().await;
        let shape = self.shape(record)?;
        if shape.is_of(&self.keys()) {
            self.generation.store(record.generation, Ordering::Relaxed);
            return Ok(());
        }
        if let Some(agreement) = &self.agreement {
            agreement.tell(&shape.bundle(), record.generation).await?;
        }
        let now = self.clock.now();
        let mut keys = self.keys();
        let before: Vec<String> = keys.roots().map(|root| root.name.clone()).collect();
        self.settle(&mut keys, shape.root, shape.other, shape.phase, now)?;
        for name in before.iter().filter(|name| keys.roots().all(|root| root.name != **name)) {
            self.directory.discard_root(name);
        }
        self.generation.store(record.generation, Ordering::Relaxed);
        Ok(())
    }

    fn shape(&self, record: &Record) -> Result<Shape, StepError> {
        let now = self.clock.now();
        let root = self.root_of(&record.signing, record, now)?;
        let other = record.other.as_ref().map(|other| self.root_of(other, record, now)).transpose()?;
        Ok(Shape { root, other, phase: record.phase })
    }

    /// A root that is here, or whose key can be opened here.
    fn root_of(&self, pin: &str, record: &Record, now: SystemTime) -> Result<Arc<Root>, StepError> {
        let keys = self.keys();
        if let Some(root) = self.known(&keys, pin) {
            return Ok(root);
        }
        let own = sha256(&keys.root.certificate);
        let directory = self.directory.path();
        let foreign =
            || StepError::Foreign { known: pin.to_owned(), own: own.clone(), directory: directory.to_owned() };
        let made = record.made.as_ref().ok_or_else(foreign)?;
        let certificate = CertificateDer::from(STANDARD.decode(&made.certificate).unwrap_or_default());
        let under =
            self.known(&keys, &made.sealed_under).filter(|_| sha256(&certificate) == pin).ok_or_else(foreign)?;
        let key = made.open(&self.directory.root_key(&under.name)?, pin)?;
        self.directory.put_root(&made.name, &certificate, &key)?;
        Ok(Arc::new(self.directory.load_or_make_root(&made.name, &self.trust_domain, now)?))
    }

    /// Also by what it was before it got new dates.
    fn known(&self, keys: &Keys, pin: &str) -> Option<Arc<Root>> {
        let before = |root: &Root| self.directory.root_before(&root.name).ok().flatten();
        let is = |root: &&Arc<Root>| {
            sha256(&root.certificate) == pin || before(root).is_some_and(|before| sha256(&before) == pin)
        };
        keys.roots().find(is).cloned()
    }
}

impl Made {
    /// The name becomes one of files.
    fn open(&self, under: &KeyPair, pin: &str) -> Result<KeyPair, StepError> {
        let digits = self.name.strip_prefix("root-").filter(|digits| digits.len() == 8);
        if !digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            return Err(StepError::Record(format!("{:?} is no name of a root", self.name)));
        }
        let key = STANDARD.decode(&self.key).map_err(|error| StepError::Record(error.to_string()))?;
        sealed::open(&key, under, &place(pin)).map_err(|_| StepError::Sealing)
    }
}

impl Shape {
    fn is_of(&self, keys: &Keys) -> bool {
        let names = |root: &Arc<Root>, other: &Option<Arc<Root>>| {
            (root.name.clone(), other.as_ref().map(|other| other.name.clone()))
        };
        (keys.phase, names(&keys.root, &keys.other)) == (self.phase, names(&self.root, &self.other))
    }

    fn bundle(&self) -> TrustBundle {
        let other = self.other.iter().filter(|_| self.phase != Phase::Staged);
        let roots = std::iter::once(&self.root).chain(other).map(|root| root.certificate.clone());
        TrustBundle { roots: roots.collect() }
    }
}

/// What the sealed key of a root is bound to.
fn place(pin: &str) -> String {
    format!("{KEY} {pin}")
}

#[cfg(test)]
mod tests {
    use store::{Memory, Store as _};

    use super::*;
    use crate::test_kit::Mesh;

    #[tokio::test]
    async fn of_two_who_are_asked_at_once_one_is_refused_and_leaves_nothing_behind() {
        let mesh = Mesh { store: Arc::new(Memory::shared()), ..Mesh::new() };
        let [one, other] = [mesh.authority(), mesh.authority()];
        let (record, revision) = one.record().await.unwrap();
        let (root, next) = one.make_next(&record).unwrap();
        other.advance_all(0).await.unwrap();
        assert!(matches!(other.advance_all(0).await, Err(StepError::Meanwhile)), "that was decided for another step");
        assert!(matches!(other.step_back_all(0).await, Err(StepError::Meanwhile)));
        assert!(matches!(one.write(next, revision).await, Err(StepError::Meanwhile)));
        assert_ne!(root.name, other.keys().other.as_ref().unwrap().name);
        assert!(one.catch_up().await.unwrap() && one.phase() == Phase::Staged);
        assert_eq!(one.keys().other.as_ref().unwrap().name, other.keys().other.as_ref().unwrap().name);
    }

    #[tokio::test]
    async fn what_somebody_else_writes_into_the_store_makes_no_root_and_no_file() {
        let mesh = Mesh { store: Arc::new(Memory::shared()), ..Mesh::new() };
        let authority = mesh.authority();
        let (record, _) = authority.record().await.unwrap();
        let (root, next) = authority.make_next(&record).unwrap();
        authority.directory.discard_root(&root.name);
        let files = || std::fs::read_dir(mesh.ca()).unwrap().count();
        let before = files();
        let made = next.made.clone().unwrap();
        let cases = [
            (Made { name: "../../x".to_owned(), ..made.clone() }, "is no name of a root"),
            (Made { key: STANDARD.encode([7; 80]), ..made.clone() }, "cannot be sealed, or opened"),
            (Made { sealed_under: "0".repeat(64), ..made.clone() }, "has another root of trust"),
            (Made { certificate: STANDARD.encode(b"x"), ..made }, "has another root of trust"),
        ];
        for (made, words) in cases {
            let bad = serde_json::to_vec(&Record { made: Some(made), ..next.clone() }).unwrap();
            mesh.store.commit(Transaction::put(KEY, bad)).await.unwrap();
            let refused = authority.catch_up().await.unwrap_err().to_string();
            assert!(refused.contains(words) && files() == before, "{refused}");
        }
        mesh.store.commit(Transaction::put(KEY, "{")).await.unwrap();
        assert!(matches!(authority.catch_up().await, Err(StepError::Record(_))));
    }
}
