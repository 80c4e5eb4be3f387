//! What the control planes that share a store sign with and trust. Each tells the others; none puts roots in force with
//! which workloads of one would refuse those of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use runtime::Clock;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Transaction};

use crate::{TrustBundle, sha256};

/// The control planes by name, in one record, so that two never change it unseen by each other.
const KEY: &str = "ca/control-planes";
/// How often each tells.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
/// Whoever told nothing for longer is gone; seconds.
const SILENCE: u64 = 30;

/// One control plane among those of a store. Cloning shares.
#[derive(Clone)]
pub struct Agreement {
    store: Arc<dyn Store>,
    name: String,
    clock: Clock,
}

/// What it told last. Roots are told by their SHA-256 in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    signing: String,
    trusted: BTreeSet<String>,
    /// Unix seconds.
    at: u64,
}

/// Why roots must not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum Disagreement {
    #[error(
        "the control plane {of} of the same store (once it is gone it counts for {SILENCE} s more) does not \
         trust the root that would sign here ({root}), so its workloads would refuse those of this one: first put both \
         roots into root-cert.pem of every control plane; or give --store another prefix"
    )]
    Untrusted { of: String, root: String },
    #[error(
        "the control plane {of} of the same store (once it is gone it counts for {SILENCE} s more) signs with \
         another root of trust ({root}), which would not be trusted here: leave it in root-cert.pem until none signs with \
         it; or give --store another prefix"
    )]
    Unknown { of: String, root: String },
    #[error("what the other control planes trust cannot be told now: {0}")]
    Store(#[from] StoreError),
}

impl Agreement {
    /// `name` tells it from the others; it stays the same when it is started again.
    pub fn new(store: Arc<dyn Store>, name: impl Into<String>, clock: Clock) -> Self {
        Self { store, name: name.into(), clock }
    }

    /// Tells what is about to be in force here, if the others agree with it. `before`: what the root that signs was
    /// before it got new dates, by its SHA-256.
    pub async fn tell(&self, bundle: &TrustBundle, before: &[String]) -> Result<(), Disagreement> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let trusted: BTreeSet<String> = bundle.roots.iter().map(|root| sha256(root)).collect();
        loop {
            let entry = self.store.get(KEY).await?;
            let (mut all, revision) = entry.map_or_else(Default::default, |entry| (read(&entry.value), entry.revision));
            let now = self.clock.unix_seconds();
            all.retain(|name, told| *name != self.name && now.abs_diff(told.at) <= SILENCE);
            let told = Told { signing: bundle.pin(), trusted: trusted.clone(), at: now };
            for (of, other) in &all {
                judge(&told, before, of, other)?;
            }
            all.insert(self.name.clone(), told);
            let value = serde_json::to_vec(&all).map_err(|error| crate::ledger::unreadable(KEY, &error))?;
            match self.store.commit(Transaction::put(KEY, value).expecting(KEY, revision)).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
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

fn judge(own: &Told, before: &[String], of: &str, other: &Told) -> Result<(), Disagreement> {
    let one_of =
        |known: &BTreeSet<String>| known.contains(&own.signing) || before.iter().any(|pin| known.contains(pin));
    if !one_of(&other.trusted) {
        return Err(Disagreement::Untrusted { of: of.to_owned(), root: own.signing.clone() });
    }
    if !own.trusted.contains(&other.signing) && !before.contains(&other.signing) {
        return Err(Disagreement::Unknown { of: of.to_owned(), root: other.signing.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use runtime::ManualClock;
    use rustls::pki_types::CertificateDer;
    use store::Memory;

    use super::*;

    fn bundle(roots: &[&str]) -> TrustBundle {
        TrustBundle { roots: roots.iter().map(|root| CertificateDer::from(root.as_bytes().to_vec())).collect() }
    }

    #[tokio::test]
    async fn roots_change_in_steps_that_all_can_follow_and_in_no_others() {
        let (store, time) = (Arc::new(Memory::shared()), ManualClock::at(SystemTime::now()));
        let [one, other] = ["one", "other"].map(|name| Agreement::new(store.clone(), name, time.clock()));
        let tell = async |who: &Agreement, roots: &[&str]| who.tell(&bundle(roots), &[]).await;
        tell(&one, &["old"]).await.unwrap();
        let foreign = tell(&other, &["new"]).await.unwrap_err();
        assert!(matches!(&foreign, Disagreement::Untrusted { of, .. } if of == "one"), "{foreign}");
        tell(&other, &["old"]).await.unwrap();

        // The first signs; who signs with the new one too early is held back, and who drops the old one too early.
        tell(&one, &["old", "new"]).await.unwrap();
        assert!(matches!(tell(&one, &["new", "old"]).await, Err(Disagreement::Untrusted { .. })));
        tell(&other, &["old", "new"]).await.unwrap();
        tell(&one, &["new", "old"]).await.unwrap();
        let early = tell(&one, &["new"]).await.unwrap_err().to_string();
        assert!(early.contains("control plane other") && early.contains(&sha256(b"old")), "{early}");
        tell(&other, &["new", "old"]).await.unwrap();
        tell(&one, &["new"]).await.unwrap();
        tell(&other, &["new"]).await.unwrap();

        // Who is gone is not asked.
        time.advance(Duration::from_secs(SILENCE + 1));
        tell(&one, &["third"]).await.unwrap();
    }

    #[tokio::test]
    async fn new_dates_of_a_root_are_no_other_root_and_a_store_of_ones_own_asks_nobody() {
        let (store, time) = (Arc::new(Memory::shared()), ManualClock::at(SystemTime::now()));
        let [one, other] = ["one", "other"].map(|name| Agreement::new(store.clone(), name, time.clock()));
        one.tell(&bundle(&["dates"]), &[]).await.unwrap();
        other.tell(&bundle(&["new dates"]), &[sha256(b"dates")]).await.unwrap();
        let own: Arc<dyn Store> = Arc::new(Memory::new());
        for name in ["one", "other"] {
            Agreement::new(own.clone(), name, time.clock()).tell(&bundle(&[name]), &[]).await.unwrap();
        }
    }
}
