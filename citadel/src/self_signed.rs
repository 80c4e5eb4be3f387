//! An authority whose root is made here and kept on disk. The root signs intermediates only; its key is read when one
//! is due, and not kept in memory. Intermediates live 7 days and are renewed at half their life, when the next
//! certificate is asked for.

mod files;
mod template;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use async_trait::async_trait;
use rcgen::KeyPair;
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use store::Store;
use tokio::sync::watch;

use self::files::Directory;
pub use self::files::OpenError;
pub(crate) use self::files::pem;
use crate::{Authority, IssueError, IssueRequest, Issued, Ledger, LedgerEntry, TrustBundle};

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
    root: Root,
    intermediate: Mutex<Arc<Intermediate>>,
    bundle: watch::Sender<Arc<TrustBundle>>,
    ledger: Ledger,
    /// Unix seconds.
    pruned: AtomicU64,
    clock: Clock,
    ttl: Duration,
}

struct Root {
    certificate: CertificateDer<'static>,
    not_after: SystemTime,
}

struct Intermediate {
    certificate: CertificateDer<'static>,
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
        let root = directory.load_or_make_root(trust_domain, now)?;
        let intermediate = match directory.load_intermediate(&root, now)? {
            Some(intermediate) if !intermediate.is_due(now) => intermediate,
            _ => directory.make_intermediate(&root, trust_domain, now)?,
        };
        let bundle = Arc::new(TrustBundle { roots: vec![root.certificate.clone()] });
        Ok(Self {
            trust_domain: trust_domain.clone(),
            directory,
            root,
            intermediate: Mutex::new(Arc::new(intermediate)),
            bundle: watch::Sender::new(bundle),
            ledger: Ledger::new(store, clock.clone()),
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

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
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

    fn intermediate(&self, now: SystemTime) -> Result<Arc<Intermediate>, IssueError> {
        let mut current = self.intermediate.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= self.root.not_after {
            return Err(IssueError::RootExpired);
        }
        if current.is_due(now) {
            match self.directory.make_intermediate(&self.root, &self.trust_domain, now) {
                Ok(fresh) => *current = Arc::new(fresh),
                // Half its life is left to mend the cause: until then the old one does.
                Err(error) if now < current.not_after => {
                    tracing::warn!(%error, "the intermediate certificate cannot be renewed; the old one is still used");
                }
                Err(error) => return Err(IssueError::Signing(error.to_string())),
            }
        }
        Ok(current.clone())
    }
}

#[async_trait]
impl Authority for SelfSigned {
    async fn issue(&self, request: IssueRequest) -> Result<Issued, IssueError> {
        if *request.id.trust_domain() != self.trust_domain {
            return Err(IssueError::ForeignTrustDomain { ours: self.trust_domain.to_string(), asked: request.id });
        }
        let now = self.clock.now();
        let intermediate = self.intermediate(now)?;
        let ttl = request.ttl.unwrap_or(self.ttl).clamp(MIN_TTL, self.ttl);
        let issued = template::sign_leaf(&intermediate, &self.root.certificate, &request, now, ttl)
            .map_err(|error| IssueError::Signing(error.to_string()))?;
        self.ledger.enter(&entry(&request, &issued, now)).await?;
        self.prune_ledger(now).await;
        tracing::info!(
            identity = %request.id, serial = issued.serial, attested_by = request.attested_by, ttl_s = ttl.as_secs(),
            "certificate issued"
        );
        Ok(issued)
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

fn entry(request: &IssueRequest, issued: &Issued, now: SystemTime) -> LedgerEntry {
    LedgerEntry {
        serial: issued.serial.clone(),
        identity: request.id.to_string(),
        issued: unix(now),
        not_after: unix(issued.not_after),
        attested_by: request.attested_by.clone(),
        member: request.member.clone(),
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// By how much a certificate of this lifetime is dated back. Short ones less, so that half their life lies ahead.
fn backdate(ttl: Duration) -> Duration {
    MAX_BACKDATE.min(ttl / 12)
}
