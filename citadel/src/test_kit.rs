//! Shared by the tests: an authority on a temporary directory under a clock that stands still, and requests to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use api::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, KeyPair, SanType};
use runtime::ManualClock;
use store::{ChangeStream, Entry, Listing, Memory, Store, StoreError, Transaction};
use tempfile::TempDir;

use crate::{Authority as _, IssueRequest, Issued, Members, NewToken, SelfSigned, SubjectKey, Tokens};

pub struct Mesh {
    pub dir: TempDir,
    pub store: Arc<Memory>,
    pub time: ManualClock,
    pub trust_domain: TrustDomain,
}

impl Mesh {
    pub fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            store: Arc::new(Memory::new()),
            time: ManualClock::at(SystemTime::now()),
            trust_domain: TrustDomain::new("cluster.local").unwrap(),
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca")
    }

    /// Opens the authority, anew at each call.
    pub fn authority(&self) -> SelfSigned {
        SelfSigned::open(&self.ca(), &self.trust_domain, self.store.clone(), self.time.clock()).unwrap()
    }

    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.store.clone(), self.authority().trust_bundle(), self.time.clock())
    }

    pub fn members(&self) -> Members {
        Members::new(self.store.clone(), self.time.clock())
    }

    pub async fn token(&self, service_account: &str) -> String {
        self.tokens().create(NewToken::new("default", service_account)).await.unwrap().text
    }

    pub fn id(&self, service_account: &str) -> SpiffeId {
        self.trust_domain.workload("default", service_account).unwrap()
    }
}

pub async fn issue(authority: &SelfSigned, id: &SpiffeId, ttl: Option<Duration>) -> Issued {
    let key = SubjectKey::of(&KeyPair::generate().unwrap());
    let attested_by = "test".to_owned();
    let order = IssueRequest { id: id.clone(), key, ttl, member: None, attested_by, renews: None, from: None };
    authority.issue(order).await.unwrap()
}

/// The next one for the holder of one.
pub async fn renew(authority: &SelfSigned, before: &Issued) -> Issued {
    let key = SubjectKey::of(&KeyPair::generate().unwrap());
    let id = crate::peer_identity(&before.chain[0]).unwrap();
    let (attested_by, renews) = (format!("certificate {}", before.serial), Some(before.serial.clone()));
    let order = IssueRequest { id, key, ttl: None, member: None, attested_by, renews, from: None };
    authority.issue(order).await.unwrap()
}

/// A PEM signing request that names URIs.
pub fn csr(key: &KeyPair, uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub const USAGE: &str = "keyUsage=critical,keyCertSign,cRLSign";
pub const ECDSA: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const RSA: [&str; 2] = ["-newkey", "rsa:2048"];

pub fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What Istio's documents have people do: a root, and below it an authority for one cluster.
pub fn cacerts(folder: &Path, algorithm: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    let new = |key: &str, out: &str, subject: &str, issuer: &[&str]| {
        let own = ["req", "-x509", "-nodes", "-days", "30", "-keyout", key, "-out", out, "-subj", subject];
        let extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", USAGE];
        openssl(folder, &[&own[..], algorithm, &extensions[..], issuer].concat());
    };
    new("root-key.pem", "root-cert.pem", "/O=Istio/CN=Root CA", &[]);
    let below = ["-CA", "root-cert.pem", "-CAkey", "root-key.pem"];
    new("ca-key.pem", "ca-cert.pem", "/O=Istio/CN=Intermediate CA", &below);
    let both = ["ca-cert.pem", "root-cert.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).concat();
    fs::write(folder.join("cert-chain.pem"), both).unwrap();
}

/// A store that can be out of reach.
pub struct Away {
    store: Arc<Memory>,
    is_away: AtomicBool,
}

impl Away {
    pub fn new(store: Arc<Memory>) -> Self {
        Self { store, is_away: AtomicBool::new(false) }
    }

    pub fn set(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    fn there(&self) -> Result<&Memory, StoreError> {
        let away = || StoreError::Broken { path: "memory".to_owned(), cause: "it is out of reach".to_owned() };
        if self.is_away.load(Ordering::Relaxed) { Err(away()) } else { Ok(&self.store) }
    }
}

#[async_trait::async_trait]
impl Store for Away {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.there()?.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.there()?.list(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        self.there()?.commit(transaction).await
    }

    fn watch(&self, prefix: &str) -> ChangeStream {
        self.store.watch(prefix)
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}
