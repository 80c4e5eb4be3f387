//! The change of roots under the eyes of those who must follow it: who holds a certificate, which roots each trusts,
//! and therefore whether the next step may be taken.

mod follow;
mod gate;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::X509Svid;
use serde::{Deserialize, Serialize};
use store::StoreError;

use crate::agreement::SILENCE;
use crate::authority::Authority as _;
use crate::self_signed::{Phase, SelfSigned, StepError};
use crate::{CertificateDescription, LedgerEntry, OpenError, TrustBundle, sha256};

pub use self::follow::Fault;

/// Watches over the change. Cloning shares.
#[derive(Clone)]
pub struct Rotation {
    authority: Arc<SelfSigned>,
    /// Other control planes have copies of the root that signs, and would not learn of another.
    shared: bool,
    /// By holder: SHA-256 of each root that it trusts.
    trusted: Arc<Mutex<Trusted>>,
    found: Arc<Mutex<follow::Found>>,
    /// From the look at who is behind to the step.
    stepping: Arc<tokio::sync::Mutex<()>>,
}

/// The SHA-256 of the roots that each holder trusts, in hexadecimal.
type Trusted = BTreeMap<Holder, BTreeSet<String>>;

/// Who holds a certificate: a member of the mesh, or where it is none, whoever joined once under the identity and renews
/// since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    pub identity: String,
    pub member: Option<String>,
    /// The serial number of its first certificate, where it is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    /// How many hold a certificate that has not ended; and where all control planes of a store take each step, the others.
    pub holders: usize,
    /// Those that the next step waits for, and why.
    pub waiting: Vec<Waiting>,
    /// Whether the steps are files that somebody else puts there.
    pub plugged_in: bool,
    /// Why files that are there are not in force, if there are such.
    pub pending: Option<String>,
}

/// A holder that is behind, or a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub holder: Holder,
    pub reason: &'static str,
    /// From where it asked for its certificate.
    pub from: Option<IpAddr>,
    /// When its certificate ends, and with it the waiting; of a control plane, when it may be gone. Unix seconds.
    pub until: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error("{0}")]
    Waits(String),
    #[error("the authority's files are not taken up: {0}")]
    Files(OpenError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("who holds certificates cannot be told now: {0}")]
    Store(#[from] StoreError),
}

const UNTOLD: &str = "has not said that it trusts the other root";
/// Of another control plane of the store.
const ELSEWHERE: &str = "has not taken the last step";
const OLD: &str = "still has a certificate under the other root";

impl Rotation {
    /// `shared`: whether several control planes may sign for this mesh.
    pub fn new(authority: Arc<SelfSigned>, shared: bool) -> Self {
        Self { authority, shared, trusted: Arc::default(), found: Arc::default(), stepping: Arc::default() }
    }

    pub fn bundles(&self) -> tokio::sync::watch::Receiver<Arc<TrustBundle>> {
        self.authority.trust_bundle()
    }

    /// What lies between what is signed and the root, where the authority is plugged in: the file of each, and what it says.
    pub fn path(&self) -> Vec<(&'static str, CertificateDescription)> {
        self.authority.path()
    }

    /// Takes a holder's word for the roots that it trusts. All control planes of a store learn of it. Whether it is kept.
    pub async fn told(&self, holder: Holder, trusted: BTreeSet<String>) -> bool {
        if !self.shared {
            self.lock().insert(holder, trusted);
            return true;
        }
        let kept = told::keep(self.authority.ledger().store(), &holder, trusted).await;
        if let Err(error) = &kept {
            tracing::warn!(%error, %holder, "which roots it trusts is not kept; it is waited for until that is");
        }
        kept.is_ok()
    }

    /// Who showed a certificate, and says that he has the one of a serial number by now: that counts if it is of the same
    /// identity. What the ledger does not know begins a lineage.
    pub async fn holder(&self, svid: &X509Svid, serial: &str) -> Result<Holder, StoreError> {
        let (identity, member) = (svid.id.to_string(), svid.common_name.clone());
        if member.is_some() {
            return Ok(Holder { identity, member, lineage: None });
        }
        if serial != svid.serial
            && let Some(held) = self.authority.ledger().entry(serial).await?
            && held.identity == identity
            && let Some(lineage) = held.lineage()
        {
            return Ok(Holder { identity, member, lineage: Some(lineage.to_owned()) });
        }
        let lineage = self.authority.lineage(&svid.serial).await?;
        Ok(Holder { identity, member, lineage: lineage.or_else(|| Some(svid.serial.clone())) })
    }

    fn lock(&self) -> MutexGuard<'_, Trusted> {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds a certificate, and what each of them trusts; what others told is forgotten. What was told is read first,
    /// so that nobody is forgotten who got a certificate meanwhile.
    async fn trusted(&self) -> Result<(BTreeMap<Holder, LedgerEntry>, Trusted), StoreError> {
        if self.shared {
            let store = self.authority.ledger().store();
            let kept = told::all(store).await?;
            let holders = self.holders().await?;
            let (kept, over): (Vec<_>, Vec<_>) = kept.into_iter().partition(|kept| kept.is_of(&holders));
            told::forget(store, over).await?;
            return Ok((holders, kept.into_iter().filter_map(told::Kept::told).collect()));
        }
        let mut told = self.lock().clone();
        let holders = self.holders().await?;
        let is_over = |holder: &Holder| told.contains_key(holder) && !holders.contains_key(holder);
        self.lock().retain(|holder, _| !is_over(holder));
        told.retain(|holder, _| holders.contains_key(holder));
        Ok((holders, told))
    }

    pub async fn progress(&self) -> Result<Progress, StoreError> {
        let plugged_in = self.authority.is_plugged_in();
        let (mut phase, signing) = (self.authority.phase(), self.authority.signing_root());
        let bundle = self.bundles().borrow().clone();
        let roots: BTreeSet<String> = bundle.roots.iter().map(|root| sha256(root)).collect();
        let by_hand = plugged_in && roots.len() > 1;
        if by_hand {
            phase = Phase::Distributed;
        }
        let pending = match self.weigh().await {
            Ok(Some(weighed)) if !weighed.progress.waiting.is_empty() => {
                let pending = Some(weighed.words());
                return Ok(Progress { phase, pending, ..weighed.progress });
            }
            Ok(Some(_)) => Some(self.held_back().unwrap_or_else(|| "they are taken up within seconds".to_owned())),
            Ok(None) => None,
            Err(RotationError::Store(error)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        // Whoever holds no certificate any more is waited for no longer.
        let (holders, told) = self.trusted().await?;
        let behind = |(holder, entry): (&Holder, &LedgerEntry)| {
            let untold = || (!told.get(holder).is_some_and(|trusted| trusted.is_superset(&roots))).then_some(UNTOLD);
            let old = || (entry.root != signing).then_some(OLD);
            let reason = match phase {
                Phase::Idle | Phase::Staged => None,
                // Which step is next, whoever puts the files there knows.
                Phase::Distributed if by_hand => untold().or_else(old),
                Phase::Distributed => untold(),
                Phase::Signing => old(),
            };
            Some(Waiting::of(holder, entry, reason?))
        };
        let (others, mut waiting) = self.others().await?;
        waiting.extend(holders.iter().filter_map(behind));
        let holders = holders.len() + others;
        Ok(Progress { phase, holders, waiting, plugged_in, pending })
    }

    /// Takes the next step, if nobody is behind or it is forced: for files that somebody else put there, to take them up.
    pub async fn advance(&self, force: bool) -> Result<Progress, RotationError> {
        if self.authority.is_plugged_in() {
            return match self.take_up(force).await? {
                true => Ok(self.progress().await?),
                false => Err(StepError::PluggedIn.into()),
            };
        }
        let _one = self.stepping.lock().await;
        // What was written down by another control plane comes first.
        self.authority.catch_up().await?;
        let from = self.authority.generation();
        let progress = self.progress().await?;
        if !force && !progress.waiting.is_empty() {
            return Err(RotationError::Waits(progress.words()));
        }
        if self.authority.is_recorded() {
            self.authority.advance_all(from).await?;
        } else {
            self.authority.advance()?;
        }
        Ok(self.progress().await?)
    }

    /// Takes the last step back. A root whose certificates are in use is withdrawn by force only.
    pub async fn step_back(&self, force: bool) -> Result<Progress, RotationError> {
        let _one = self.stepping.lock().await;
        self.authority.catch_up().await?;
        let from = self.authority.generation();
        if !force {
            let progress = self.behind_a_step_back().await?;
            if !progress.waiting.is_empty() {
                return Err(RotationError::Waits(progress.words()));
            }
        }
        if self.authority.is_recorded() {
            self.authority.step_back_all(from).await?;
        } else {
            self.authority.step_back()?;
        }
        Ok(self.progress().await?)
    }

    async fn behind_a_step_back(&self) -> Result<Progress, StoreError> {
        let (others, mut waiting) = self.others().await?;
        let (phase, signing) = (self.authority.phase(), self.authority.signing_root());
        let withdraws = |(_, entry): &(&Holder, &LedgerEntry)| {
            phase == Phase::Distributed && entry.root != signing && !entry.root.is_empty()
        };
        let holders = self.holders().await?;
        let old = holders.iter().filter(withdraws);
        waiting.extend(old.map(|(holder, entry)| Waiting::of(holder, entry, OLD)));
        Ok(Progress { phase, holders: holders.len() + others, waiting, ..Progress::default() })
    }

    /// How many other control planes there are, and those that have not taken the step that this one has.
    async fn others(&self) -> Result<(usize, Vec<Waiting>), StoreError> {
        if !self.authority.is_recorded() {
            return Ok((0, Vec::new()));
        }
        let (others, own) = (self.authority.others().await?, self.authority.generation());
        let until = self.authority.ledger().now() + SILENCE.as_secs();
        let behind = others.iter().filter(|(_, generation)| *generation != own).map(|(name, _)| Waiting {
            holder: Holder { identity: format!("control plane {name}"), member: None, lineage: None },
            reason: ELSEWHERE,
            from: None,
            until,
        });
        Ok((others.len(), behind.collect()))
    }

    /// Each holder with its latest certificate that has not ended; the control plane itself is none.
    async fn holders(&self) -> Result<BTreeMap<Holder, LedgerEntry>, StoreError> {
        let (now, signing) = (self.authority.ledger().now(), self.authority.signing_root());
        // Of two of one second, the one below the root that signs now came later.
        let age = |entry: &LedgerEntry| (entry.issued, entry.not_after, entry.root == signing);
        let mut latest: BTreeMap<Holder, LedgerEntry> = BTreeMap::new();
        let mut entries = self.authority.ledger().entries().await?;
        entries.retain(|entry| entry.not_after > now && entry.attested_by != crate::server_tls::ITSELF);
        let renewed: BTreeSet<String> = entries.iter().filter_map(|entry| Some(entry.renews()?.to_owned())).collect();
        // An entry of before does not say of which lineage it is, but the one after says that it was renewed.
        entries.retain(|entry| entry.lineage.is_some() || entry.member.is_some() || !renewed.contains(&entry.serial));
        for entry in entries {
            let holder = Holder::of(&entry);
            if latest.get(&holder).is_none_or(|known| age(known) < age(&entry)) {
                latest.insert(holder, entry);
            }
        }
        Ok(latest)
    }
}

impl RotationError {
    /// Whether it is only that the store does not answer.
    fn is_of_store(&self) -> bool {
        use crate::Disagreement::Store as Away;
        matches!(
            self,
            Self::Store(_)
                | Self::Files(OpenError::Disagreement(Away(_)))
                | Self::Step(StepError::Store(_) | StepError::Disagreement(Away(_)))
        )
    }
}

impl Holder {
    fn of(entry: &LedgerEntry) -> Self {
        let lineage = entry.lineage().map(str::to_owned);
        Self { identity: entry.identity.clone(), member: entry.member.clone(), lineage }
    }

    /// The first digits of its lineage, where it is no member.
    fn short_lineage(&self) -> Option<&str> {
        self.lineage.as_deref().map(|lineage| lineage.get(..8).unwrap_or(lineage))
    }
}

impl Waiting {
    fn of(holder: &Holder, entry: &LedgerEntry, reason: &'static str) -> Self {
        Self { holder: holder.clone(), reason, from: entry.from, until: entry.not_after }
    }

    fn name(&self) -> String {
        match self.from {
            Some(from) => format!("{} at {from}", self.holder),
            None => self.holder.to_string(),
        }
    }
}

impl Progress {
    /// 0 to 100.
    pub fn percent(&self) -> usize {
        match self.holders {
            0 => 100,
            holders => (holders - self.waiting.len()) * 100 / holders,
        }
    }

    fn words(&self) -> String {
        let (count, holders) = (self.waiting.len(), self.holders);
        let mut reasons: Vec<&str> = self.waiting.iter().map(|behind| behind.reason).collect();
        let of = |reason: &&str| {
            let alike = self.waiting.iter().filter(|behind| behind.reason == *reason);
            let names: Vec<_> = alike.map(Waiting::name).collect();
            format!("{} {reason}", some_of(&names))
        };
        reasons.sort_unstable();
        reasons.dedup();
        let whom: Vec<_> = reasons.iter().map(of).collect();
        format!(
            "{count} of {holders} holders of certificates{} are behind: {}; wait until each has followed or its \
             certificate has ended, or go on with --force, which cuts them off",
            if self.waiting.iter().any(|behind| behind.reason == ELSEWHERE) { " and control planes" } else { "" },
            whom.join("; "),
        )
    }
}

/// The first ones, and how many there are besides.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.member, self.short_lineage()) {
            (Some(member), _) => write!(f, "{} (member {member})", self.identity),
            (None, Some(lineage)) => write!(f, "{} (certificates from {lineage})", self.identity),
            (None, None) => f.write_str(&self.identity),
        }
    }
}

#[cfg(test)]
mod tests;
