//! An authority whose root is made here and kept on disk. The root signs intermediates only; its key is read when one
//! is due, and not kept in memory. Intermediates live 7 days and are renewed at half their life, when the next
//! certificate is asked for.

mod files;
pub mod fuzz;
mod plugged;
mod record;
mod renew;
mod rotate;
mod sealed;
mod template;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use async_trait::async_trait;
use rcgen::KeyPair;
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use store::{Store, StoreError};
use tokio::sync::watch;

use self::files::Directory;
pub use self::files::OpenError;
pub(crate) use self::files::pem;
pub(crate) use self::plugged::Pending;
use self::plugged::Plugged;
pub use self::record::ROOT;
pub use self::renew::{RenewedRoot, renew_expired_roots, replaced_roots};
use self::rotate::{Keys, Plan};
pub use self::rotate::{Phase, StepError};
use crate::agreement::{Agreement, Disagreement};
use crate::anchor::Anchor;
use crate::{
    Authority, Decision, Decisions, IssueError, IssueRequest, Issued, Ledger, LedgerEntry, Outcome, TrustBundle,
    Wanted, sha256,
};

const INTERMEDIATE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
const MIN_TTL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// How far clocks may be apart.
const MAX_BACKDATE: Duration = Duration::from_secs(5 * 60);
/// How often expired certificates are taken out of the ledger.
const PRUNE_EVERY_S: u64 = 600;

/// See the module's description.
pub struct SelfSigned {
    trust_domain: TrustDomain,
    directory: Directory,
    /// Where the files are somebody else's.
    plugged: Option<Plugged>,
    keys: Mutex<Keys>,
    bundle: watch::Sender<Arc<TrustBundle>>,
    ledger: Ledger,
    decisions: Decisions,
    /// With the other control planes of a store that is shared.
    agreement: Option<Agreement>,
    /// Of the change of roots that all control planes of a store take: the step that was taken here.
    generation: AtomicU64,
    /// One step after the other.
    stepping: tokio::sync::Mutex<()>,
    /// Unix seconds.
    pruned: AtomicU64,
    clock: Clock,
    ttl: Duration,
}

struct Root {
    /// Of its files.
    name: String,
    certificate: CertificateDer<'static>,
    not_after: SystemTime,
}

struct Intermediate {
    /// Its subject.
    name: String,
    certificate: CertificateDer<'static>,
    /// What lies between it and the root.
    above: Vec<CertificateDer<'static>>,
    key: KeyPair,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl SelfSigned {
    /// Opens the authority in a directory, and makes it if the directory is empty.
    pub fn open(
        directory: &Path,
        trust_domain: &TrustDomain,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let directory = Directory::open(directory)?;
        let now = clock.now();
        let keys = Keys::open(&directory, trust_domain, now)?;
        let bundle = Arc::new(keys.bundle());
        Ok(Self {
            trust_domain: trust_domain.clone(),
            directory,
            plugged: None,
            keys: Mutex::new(keys),
            bundle: watch::Sender::new(bundle),
            ledger: Ledger::new(store, clock.clone()),
            decisions: Decisions::default(),
            agreement: None,
            generation: 0.into(),
            stepping: tokio::sync::Mutex::default(),
            pruned: AtomicU64::new(unix(now)),
            clock,
            ttl: DEFAULT_TTL,
        })
    }

    /// Sets the lifetime of SVIDs, held between 5 seconds and 24 hours. A wish can only shorten it.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.clamp(MIN_TTL, MAX_TTL);
        self
    }

    /// Tells of every certificate that is issued.
    pub fn telling(self, decisions: Decisions) -> Self {
        Self { decisions, ..self }
    }

    /// Puts no roots in force with which the other control planes of the store do not agree, these ones first of all: who
    /// does not agree and may be gone is waited for up to 30 seconds.
    pub async fn agreeing(mut self, agreement: Agreement) -> Result<Self, Disagreement> {
        if self.ledger.store().is_shared() {
            let bundle = self.bundle.borrow().clone();
            agreement.begin(&bundle, self.generation()).await?;
            self.agreement = Some(agreement);
        }
        Ok(self)
    }

    /// Tells the other control planes of the store what is in force.
    pub(crate) async fn beat(&self) -> Result<(), Disagreement> {
        let Some(agreement) = &self.agreement else { return Ok(()) };
        let bundle = self.bundle.borrow().clone();
        agreement.keep(&bundle, self.generation()).await
    }

    /// Tells them what is about to be in force, if they agree with it.
    async fn agree(&self, bundle: &TrustBundle) -> Result<(), Disagreement> {
        let Some(agreement) = &self.agreement else { return Ok(()) };
        agreement.tell(bundle, self.generation()).await
    }

    /// The other control planes of the store that are there, and the step that each has taken.
    pub(crate) async fn others(&self) -> Result<Vec<(String, u64)>, StoreError> {
        match &self.agreement {
            Some(agreement) => agreement.others().await,
            None => Ok(Vec::new()),
        }
    }

    /// Tells the other control planes of the store that this one ends.
    pub async fn leave(&self) -> Result<(), StoreError> {
        match &self.agreement {
            Some(agreement) => agreement.leave().await,
            None => Ok(()),
        }
    }

    /// Why nothing is issued, if what is in force is at odds with what other control planes of the store trust.
    pub(crate) fn at_odds(&self) -> Option<String> {
        self.agreement.as_ref()?.at_odds()
    }

    /// In words, if another process tells under this control plane's name.
    pub(crate) fn twin(&self) -> Option<String> {
        self.agreement.as_ref()?.twin()
    }

    /// Nothing is issued that workloads of other control planes would refuse, also after a time in which these could not
    /// be told anything.
    async fn check_agreement(&self) -> Result<(), IssueError> {
        let Some(agreement) = &self.agreement else { return Ok(()) };
        if agreement.is_silent()
            && let Err(Disagreement::Store(error)) = self.beat().await
        {
            return Err(error.into());
        }
        agreement.at_odds().map_or(Ok(()), |words| Err(IssueError::AtOdds(words)))
    }

    /// Whether its files are somebody else's.
    pub fn is_plugged_in(&self) -> bool {
        self.plugged.is_some()
    }

    /// SHA-256 of what its roots were before they got new dates.
    pub(crate) fn roots_before(&self) -> Vec<String> {
        if self.plugged.is_some() { Vec::new() } else { renew::replaced(&self.directory).unwrap_or_default() }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The lineage of what is issued under a serial number.
    async fn continued(&self, request: &IssueRequest, serial: &str) -> Result<Option<String>, StoreError> {
        if request.member.is_some() {
            return Ok(None);
        }
        let before = match &request.renews {
            Some(before) => self.lineage(before).await?,
            None => None,
        };
        Ok(Some(before.unwrap_or_else(|| serial.to_owned())))
    }

    /// Takes what expired out of the ledger, now and then. A failure costs only space, and the next time may succeed.
    async fn prune_ledger(&self, now: SystemTime) {
        let (now, last) = (unix(now), self.pruned.load(Ordering::Relaxed));
        if now < last.saturating_add(PRUNE_EVERY_S) {
            return;
        }
        self.pruned.store(now, Ordering::Relaxed);
        if let Err(error) = self.ledger.prune().await {
            tracing::warn!(%error, "expired certificates stay in the ledger for now");
        }
    }

    /// What signs now: the intermediate, renewed if it is due, and the root above it.
    fn signer(&self, now: SystemTime) -> Result<(Arc<Intermediate>, Arc<Root>), IssueError> {
        let mut keys = self.keys();
        if now >= keys.root.not_after {
            self.take_up_new_dates(&mut keys, now)?;
        }
        let root = Arc::clone(&keys.root);
        if self.plugged.is_some() {
            let expired = now >= keys.intermediate.not_after;
            let told =
                || IssueError::Signing("ca-cert.pem, or what is above it, has expired; put new files there".to_owned());
            return if expired { Err(told()) } else { Ok((Arc::clone(&keys.intermediate), root)) };
        }
        if keys.intermediate.is_due(now) {
            match self.directory.make_intermediate(&root, &self.trust_domain, now) {
                Ok(fresh) => keys.intermediate = Arc::new(fresh),
                // Half its life is left to mend the cause: until then the old one does.
                Err(error) if now < keys.intermediate.not_after => {
                    tracing::warn!(%error, "the intermediate certificate cannot be renewed; the old one is still used");
                }
                Err(error) => return Err(IssueError::Signing(error.to_string())),
            }
        }
        Ok((Arc::clone(&keys.intermediate), root))
    }

    /// The same root, to which an operator gave new dates after it had expired.
    fn take_up_new_dates(&self, keys: &mut Keys, now: SystemTime) -> Result<(), IssueError> {
        let there =
            self.plugged.is_none() && self.directory.root(&keys.root.name).is_ok_and(|root| root.not_after > now);
        if !there {
            return Err(IssueError::RootExpired);
        }
        *keys = Keys::open(&self.directory, &self.trust_domain, now)
            .map_err(|error| IssueError::Signing(error.to_string()))?;
        tracing::warn!(root = sha256(&keys.root.certificate), "the root of trust had expired, and has new dates");
        self.bundle.send_replace(Arc::new(keys.bundle()));
        Ok(())
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authority for SelfSigned {
    async fn issue(&self, request: IssueRequest) -> Result<Issued, IssueError> {
        if *request.id.trust_domain() != self.trust_domain {
            return Err(IssueError::ForeignTrustDomain { ours: self.trust_domain.to_string(), asked: request.id });
        }
        self.check_agreement().await?;
        let now = self.clock.now();
        let (intermediate, root) = self.signer(now)?;
        let ttl = request.ttl.unwrap_or(self.ttl).clamp(MIN_TTL, self.ttl);
        let issued = template::sign_leaf(&intermediate, &root.certificate, &request, now, ttl)
            .map_err(|error| IssueError::Signing(error.to_string()))?;
        let lineage = self.continued(&request, &issued.serial).await?;
        let entry = LedgerEntry { lineage, ..entry(&request, &issued, &root, &intermediate.name, now) };
        self.ledger.enter(&entry).await?;
        self.decisions.issued(decision(&request, &issued)).await?;
        self.prune_ledger(now).await;
        tracing::info!(
            identity = %request.id, serial = issued.serial, attested_by = request.attested_by, ttl_s = ttl.as_secs(),
            "certificate issued"
        );
        Ok(issued)
    }

    async fn lineage(&self, serial: &str) -> Result<Option<String>, StoreError> {
        let entry = self.ledger.entry(serial).await?;
        Ok(entry.as_ref().and_then(LedgerEntry::lineage).map(str::to_owned))
    }

    fn trust_bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }
}

impl Intermediate {
    /// Whether half its life is over.
    fn is_due(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        now >= self.not_before + life / 2
    }
}

fn entry(request: &IssueRequest, issued: &Issued, root: &Root, issuer: &str, now: SystemTime) -> LedgerEntry {
    LedgerEntry {
        fingerprint: issued.chain.first().map(|leaf| sha256(leaf)).unwrap_or_default(),
        issuer: issuer.to_owned(),
        root: sha256(&root.certificate),
        anchor: Anchor::of(&root.certificate).pin(),
        serial: issued.serial.clone(),
        identity: request.id.to_string(),
        issued: unix(now),
        not_after: unix(issued.not_after),
        attested_by: request.attested_by.clone(),
        member: request.member.clone(),
        lineage: None,
        from: request.from,
    }
}

fn decision(request: &IssueRequest, issued: &Issued) -> Decision {
    Decision {
        wanted: Wanted::Certificate,
        identity: request.id.to_string(),
        member: request.member.clone(),
        from: request.from,
        attested_by: request.attested_by.clone(),
        outcome: Outcome::Issued { what: issued.serial.clone(), until: unix(issued.not_after) },
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// By how much a certificate of this lifetime is dated back. Short ones less, so that half their life lies ahead.
fn backdate(ttl: Duration) -> Duration {
    MAX_BACKDATE.min(ttl / 12)
}
