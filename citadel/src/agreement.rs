//! What the control planes that share a store sign with and trust. Each tells the others; none puts roots in force with
//! which workloads of one would refuse those of another. No clock is compared with another: each sees for itself who
//! goes on telling.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};
use tokio::time::Instant;

use crate::TrustBundle;
use crate::anchor::Anchor;

/// The control planes by the name of their process, in one record, so that two never change it unseen by each other.
const KEY: &str = "ca/control-planes";
/// How often each tells.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
/// Whoever was seen to tell nothing for longer is gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// Whoever did not look for longer has not seen that the others were silent.
const LAPSE: Duration = Duration::from_secs(20);
/// How often it is looked, at a start, whether one who does not agree is still there.
const LOOK: Duration = Duration::from_secs(1);

/// One control plane among those of a store. Cloning shares.
#[derive(Clone)]
pub struct Agreement {
    store: Arc<dyn Store>,
    name: String,
    /// Of this process alone.
    process: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The other processes, as they were seen.
    others: BTreeMap<String, Seen>,
    looked: Option<Instant>,
    /// When the others were told something that they agree with.
    told: Option<Instant>,
    beat: u64,
    at_odds: Option<String>,
    /// Another process tells under the same name.
    twin: bool,
    /// Nothing is told any more.
    left: bool,
}

struct Seen {
    beat: u64,
    since: Instant,
    /// It told something since it was first seen.
    beats: bool,
}

/// What a process told last. Roots are told by the SHA-256 of what they are trusted for, in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    /// Of the control plane.
    name: String,
    signing: String,
    trusted: BTreeSet<String>,
    /// SHA-256 of the root that signs, for people.
    root: String,
    /// Another each time.
    beat: u64,
    /// The step of the change of roots that it has taken.
    #[serde(default)]
    generation: u64,
}

/// Why roots must not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum Disagreement {
    #[error(
        "the control plane {of} of the same store (once it is gone it counts for {} s more) does not trust the root that \
         would sign here ({root}), so its workloads would refuse those of this one: first put both roots into \
         root-cert.pem of every control plane; or give --store another prefix", SILENCE.as_secs()
    )]
    Untrusted { of: String, process: String, root: String },
    #[error(
        "the control plane {of} of the same store (once it is gone it counts for {} s more) signs with another root of \
         trust ({root}), which would not be trusted here: leave it in root-cert.pem until none signs with it; or give \
         --store another prefix", SILENCE.as_secs()
    )]
    Unknown { of: String, process: String, root: String },
    #[error("what the other control planes trust cannot be told now: {0}")]
    Store(#[from] StoreError),
}

impl Agreement {
    /// `name` tells it from the others; it stays the same when it is started again.
    pub fn new(store: Arc<dyn Store>, name: impl Into<String>) -> Self {
        let process = format!("{:016x}", rand::random::<u64>());
        Self { store, name: name.into(), process, state: Arc::default() }
    }

    /// Tells what is in force from the start. Who does not agree and was not seen to tell anything is waited for until he
    /// is gone.
    pub(crate) async fn begin(&self, bundle: &TrustBundle, generation: u64) -> Result<(), Disagreement> {
        let mut said = false;
        loop {
            match self.tell(bundle, generation).await {
                Err(error) if error.process().is_some_and(|process| !self.beats(process)) => {
                    if !said {
                        tracing::warn!(%error, "it is seen whether that control plane is still there");
                    }
                    said = true;
                    tokio::time::sleep(LOOK).await;
                }
                told => return told,
            }
        }
    }

    /// Tells again what is in force. Is it at odds with others, that is remembered until it is told without.
    pub(crate) async fn keep(&self, bundle: &TrustBundle, generation: u64) -> Result<(), Disagreement> {
        let told = self.tell(bundle, generation).await;
        if let Some(error) = told.as_ref().err().filter(|error| error.process().is_some()) {
            self.state().at_odds = Some(error.to_string());
        }
        told
    }

    /// Tells what is about to be in force here, if the others agree with it. `generation`: the step of the change of roots
    /// that it is.
    pub(crate) async fn tell(&self, bundle: &TrustBundle, generation: u64) -> Result<(), Disagreement> {
        if !self.store.is_shared() || self.state().left {
            return Ok(());
        }
        let roots = || bundle.roots.iter().map(|root| Anchor::of(root).pin());
        let (signing, trusted) = (roots().next().unwrap_or_default(), roots().collect());
        let mut own = Told { name: self.name.clone(), signing, trusted, root: bundle.pin(), beat: 0, generation };
        loop {
            let entry = self.store.get(KEY).await?;
            let (all, revision) = entry.map_or_else(Default::default, |entry| (read(&entry.value), entry.revision));
            let now = Instant::now();
            let (mut live, is_first) = (self.live(all, now), self.state().told.is_none());
            own.beat = self.next_beat();
            for (process, other) in &live {
                judge(&own, process, other)?;
            }
            // Under this name at a start there is what this control plane was before.
            live.retain(|_, other| !is_first || other.name != self.name);
            live.insert(self.process.clone(), own.clone());
            let value = serde_json::to_vec(&live).map_err(|error| crate::ledger::unreadable(KEY, &error))?;
            match self.store.commit(Transaction::put(KEY, value).expecting(KEY, revision)).await {
                Ok(_) => {
                    let mut state = self.state();
                    (state.told, state.at_odds) = (Some(now), None);
                    return Ok(());
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends in order, so that the others need not see for themselves that this one is gone.
    pub(crate) async fn leave(&self) -> Result<(), StoreError> {
        self.state().left = true;
        loop {
            let Some(entry) = self.store.get(KEY).await? else { return Ok(()) };
            let mut all = read(&entry.value);
            if all.remove(&self.process).is_none() {
                return Ok(());
            }
            let value = serde_json::to_vec(&all).map_err(|error| crate::ledger::unreadable(KEY, &error))?;
            match self.store.commit(Transaction::put(KEY, value).expecting(KEY, entry.revision)).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done.map(drop),
            }
        }
    }

    /// The names of the others that are there, and the step that each has taken.
    pub(crate) async fn others(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let entry = self.store.get(KEY).await?;
        let all = entry.map_or_else(Default::default, |entry| read(&entry.value));
        Ok(self.live(all, Instant::now()).into_values().map(|told| (told.name, told.generation)).collect())
    }

    /// Whether the others may have taken this one for gone.
    pub(crate) fn is_silent(&self) -> bool {
        self.state().told.is_none_or(|told| told.elapsed() >= SILENCE)
    }

    /// Why what is in force here must not be used.
    pub(crate) fn at_odds(&self) -> Option<String> {
        self.state().at_odds.clone()
    }

    /// In words, if another process tells under this one's name.
    pub(crate) fn twin(&self) -> Option<String> {
        self.state().twin.then(|| {
            format!(
                "another process tells under this control plane's name ({}): its data directory is a copy of this one's; \
                 remove the file control-plane/replica from the copy, and start that control plane again",
                self.name
            )
        })
    }

    /// Those who are there, as far as it was seen from here.
    fn live(&self, mut all: BTreeMap<String, Told>, now: Instant) -> BTreeMap<String, Told> {
        let mut state = self.state();
        if state.looked.is_none_or(|looked| now - looked > LAPSE) {
            state.others.values_mut().for_each(|seen| seen.since = now);
        }
        state.looked = Some(now);
        state.others.retain(|process, _| all.contains_key(process));
        all.retain(|process, told| {
            if *process == self.process {
                return false;
            }
            let new = Seen { beat: told.beat, since: now, beats: false };
            let seen = state.others.entry(process.clone()).or_insert(new);
            if seen.beat != told.beat {
                *seen = Seen { beat: told.beat, since: now, beats: true };
            }
            now - seen.since <= SILENCE
        });
        state.twin = state.told.is_some() && all.values().any(|told| told.name == self.name);
        all
    }

    fn next_beat(&self) -> u64 {
        let mut state = self.state();
        state.beat += 1;
        state.beat
    }

    fn beats(&self, process: &str) -> bool {
        self.state().others.get(process).is_some_and(|seen| seen.beats)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disagreement {
    /// With whom.
    fn process(&self) -> Option<&str> {
        match self {
            Self::Untrusted { process, .. } | Self::Unknown { process, .. } => Some(process),
            Self::Store(_) => None,
        }
    }
}

/// What cannot be read was not written by a control plane that counts.
fn read(bytes: &[u8]) -> BTreeMap<String, Told> {
    serde_json::from_slice(bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "what control planes told of their roots cannot be read, and is written anew");
        BTreeMap::new()
    })
}

fn judge(own: &Told, process: &str, other: &Told) -> Result<(), Disagreement> {
    let of = match other.name == own.name {
        true => format!("{} (another process of this name)", other.name),
        false => other.name.clone(),
    };
    let process = process.to_owned();
    if !other.trusted.contains(&own.signing) {
        return Err(Disagreement::Untrusted { of, process, root: own.root.clone() });
    }
    if !own.trusted.contains(&other.signing) {
        return Err(Disagreement::Unknown { of, process, root: other.root.clone() });
    }
    Ok(())
}
