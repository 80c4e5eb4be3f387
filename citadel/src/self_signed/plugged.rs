//! An authority whose files somebody else makes, in the layout of Istio's `cacerts`: `ca-cert.pem` and `ca-key.pem` sign,
//! `cert-chain.pem` leads from there to a root, and `root-cert.pem` has the roots to trust. Files that change are taken
//! up; files that do not fit together are refused, and the last ones stay in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use rcgen::KeyPair;
use runtime::Clock;
use rustls::pki_types::CertificateDer;
use store::Store;
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::files::{Directory, OpenError, check_pair, instant};
use super::rotate::Keys;
use super::{DEFAULT_TTL, Intermediate, Root, SelfSigned, template, unix};
use crate::authority::MOST_ROOTS;
use crate::{
    CertificateDescription, Decisions, IssueRequest, Ledger, SubjectKey, TrustBundle, certificates, describe, sha256,
    verify_peer,
};

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const ROOTS: &str = "root-cert.pem";
const CHAIN: &str = "cert-chain.pem";
const LONGEST_PATH: usize = 8;

/// Where the files are, and which of them are in force.
pub(super) struct Plugged {
    folder: PathBuf,
    seen: Mutex<String>,
}

impl Plugged {
    fn seen(&self) -> MutexGuard<'_, String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that are good, and not in force yet.
pub(crate) struct Pending {
    seen: String,
    keys: Keys,
}

impl Pending {
    pub fn bundle(&self) -> TrustBundle {
        self.keys.bundle()
    }
}

/// What the files hold.
struct Read {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    roots: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
}

impl SelfSigned {
    /// Opens an authority whose files are in a folder, and stay somebody else's.
    pub fn plugged_in(
        folder: &Path,
        trust_domain: &TrustDomain,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let seen = fingerprint(folder);
        let keys = load(folder, trust_domain, now)?;
        let bundle = Arc::new(keys.bundle());
        Ok(Self {
            trust_domain: trust_domain.clone(),
            directory: Directory::at(folder),
            plugged: Some(Plugged { folder: folder.to_owned(), seen: Mutex::new(seen) }),
            keys: Mutex::new(keys),
            bundle: watch::Sender::new(bundle),
            ledger: Ledger::new(store, clock.clone()),
            decisions: Decisions::default(),
            agreement: None,
            generation: 0.into(),
            stepping: tokio::sync::Mutex::default(),
            pruned: unix(now).into(),
            clock,
            ttl: DEFAULT_TTL,
        })
    }

    /// The files of an authority that is plugged in, if they are others than those in force.
    pub(crate) fn pending(&self) -> Result<Option<Pending>, OpenError> {
        let Some(plugged) = &self.plugged else { return Ok(None) };
        let seen = fingerprint(&plugged.folder);
        if *plugged.seen() == seen {
            return Ok(None);
        }
        let keys = load(&plugged.folder, &self.trust_domain, self.clock.now())?;
        Ok(Some(Pending { seen, keys }))
    }

    /// Puts files in force, if the other control planes of the store agree.
    pub(crate) async fn take_up(&self, pending: Pending) -> Result<(), OpenError> {
        let Some(plugged) = &self.plugged else { return Ok(()) };
        let bundle = Arc::new(pending.keys.bundle());
        self.agree(&bundle).await?;
        *plugged.seen() = pending.seen;
        *self.keys() = pending.keys;
        tracing::info!(root = bundle.pin(), roots = bundle.roots.len(), "the authority's files were taken up");
        self.bundle.send_if_modified(|published| {
            let differs = **published != *bundle;
            *published = bundle;
            differs
        });
        Ok(())
    }
}

impl SelfSigned {
    /// What lies between what is signed and the root, in the files of an authority that is plugged in: the file of each,
    /// and what it says.
    pub(crate) fn path(&self) -> Vec<(&'static str, CertificateDescription)> {
        let keys = self.keys();
        let own = Some((CERTIFICATE, &keys.intermediate.certificate)).filter(|(_, own)| **own != keys.root.certificate);
        let above = keys.intermediate.above.iter().map(|above| (CHAIN, above));
        let path = own.into_iter().chain(above).filter(|_| self.plugged.is_some());
        path.filter_map(|(file, der)| Some((file, describe(der).ok()?))).collect()
    }
}

/// Of all files, also of those that cannot be read.
fn fingerprint(folder: &Path) -> String {
    let read =
        |name| fs::read(folder.join(name)).map(Zeroizing::new).map_or_else(|_| String::new(), |all| sha256(&all));
    [CERTIFICATE, KEY, ROOTS, CHAIN].map(read).join(" ")
}

fn load(folder: &Path, trust_domain: &TrustDomain, now: SystemTime) -> Result<Keys, OpenError> {
    let read = read(folder)?;
    let refused = |name: &str, rule: String| OpenError::Rule { path: folder.join(name), rule };
    check_pair(&folder.join(CERTIFICATE), &read.certificate, &read.key)
        .map_err(|_| refused(KEY, format!("it is not the key of {CERTIFICATE}")))?;
    let (name, not_before, not_after) =
        check_authority(&read.certificate, now).map_err(|rule| refused(CERTIFICATE, rule))?;
    let (above, root) = path(&read).map_err(|rule| refused(CHAIN, rule))?;
    let (_, _, root_end) = check_authority(&root, now).map_err(|rule| refused(ROOTS, rule))?;
    // What is signed holds no longer than anything above it.
    let ends = above.iter().map(|der| check_authority(der, now).map_err(|rule| refused(CHAIN, rule)));
    let mut not_after = not_after.min(root_end);
    for end in ends {
        not_after = not_after.min(end?.2);
    }
    let Read { certificate, key, roots, .. } = read;
    let more = roots.into_iter().filter(|other| *other != root).collect();
    let intermediate = Intermediate { name, certificate, above, key, not_before, not_after };
    let root = Root { name: ROOTS.to_owned(), certificate: root, not_after: root_end };
    let keys = Keys::plugged(root, intermediate, more);
    try_out(&keys, trust_domain, now).map_err(|rule| refused(CERTIFICATE, rule))?;
    Ok(keys)
}

fn read(folder: &Path) -> Result<Read, OpenError> {
    let text = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map(Zeroizing::new).map_err(|cause| OpenError::File { path, cause })
    };
    let all = |name: &str| {
        let refused = |rule| OpenError::Rule { path: folder.join(name), rule };
        certificates(&text(name)?).map_err(refused)
    };
    let bad_key = |rule: String| OpenError::Rule { path: folder.join(KEY), rule };
    let key = String::from_utf8(text(KEY)?.to_vec()).map(Zeroizing::new).map_err(|_| bad_key("it is no PEM".into()))?;
    let key = KeyPair::from_pem(&key).map_err(|error| {
        bad_key(format!("it is no private key that can sign ({error}); ECDSA P-256 or P-384, or RSA, in PEM"))
    })?;
    let mut first = all(CERTIFICATE)?;
    let certificate = first.remove(0);
    // Istio asks for the file; without anything between, it has nothing to say.
    let mut chain = if folder.join(CHAIN).exists() { all(CHAIN)? } else { Vec::new() };
    chain.extend(first);
    let mut roots: Vec<CertificateDer<'static>> = Vec::new();
    for root in all(ROOTS)? {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    if roots.len() > MOST_ROOTS {
        let rule =
            format!("it has {} roots, and a mesh trusts {MOST_ROOTS} at most; leave out those of old", roots.len());
        return Err(OpenError::Rule { path: folder.join(ROOTS), rule });
    }
    Ok(Read { certificate, key, roots, chain })
}

/// Name and times of a certificate that may sign others now.
fn check_authority(der: &CertificateDer<'_>, now: SystemTime) -> Result<(String, SystemTime, SystemTime), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| format!("it is no X.509: {error}"))?;
    let usage = certificate.key_usage().ok().flatten();
    if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("it may not sign certificates; it needs CA:true and the usage keyCertSign".into());
    }
    let [begin, end] =
        [certificate.validity().not_before, certificate.validity().not_after].map(|t| instant(t.timestamp()));
    match () {
        () if now < begin => Err("it is not valid yet; are the clocks set?".into()),
        () if now >= end => Err("it has expired; put a new one there".into()),
        () => Ok((certificate.subject().to_string(), begin, end)),
    }
}

/// What lies between the certificate that signs and its root, and that root.
fn path(read: &Read) -> Result<(Vec<CertificateDer<'static>>, CertificateDer<'static>), String> {
    let (mut above, mut at) = (Vec::new(), read.certificate.clone());
    for _ in 0..LONGEST_PATH {
        if read.roots.contains(&at) {
            above.pop();
            return Ok((above, at));
        }
        let signed = |issuer: &&CertificateDer<'static>| **issuer != at && has_signed(issuer, &at);
        let next = read.roots.iter().find(signed).or_else(|| read.chain.iter().find(signed));
        let Some(next) = next.cloned() else { break };
        above.push(next.clone());
        at = next;
    }
    let name = X509Certificate::from_der(&at).map_or_else(|_| "it".into(), |(_, known)| known.subject().to_string());
    Err(format!("neither it nor {ROOTS} has the certificate that signed {name}"))
}

fn has_signed(issuer: &CertificateDer<'_>, subject: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, subject))) = (X509Certificate::from_der(issuer), X509Certificate::from_der(subject))
    else {
        return false;
    };
    issuer.subject() == subject.issuer() && subject.verify_signature(Some(issuer.public_key())).is_ok()
}

/// Whether the mesh would take a certificate from here: constraints of an authority show only below it.
fn try_out(keys: &Keys, trust_domain: &TrustDomain, now: SystemTime) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("certificates that it signs would be refused: {error}");
    let id = trust_domain.workload("default", "default").map_err(|error| told(&error))?;
    let key = KeyPair::generate().map_err(|error| told(&error))?;
    let key = SubjectKey::of(&key);
    let request =
        IssueRequest { id, key, ttl: None, member: None, attested_by: String::new(), renews: None, from: None };
    let issued = template::sign_leaf(&keys.intermediate, &keys.root.certificate, &request, now, DEFAULT_TTL);
    let issued = issued.map_err(|error| told(&error))?;
    let bundle: TrustBundle = keys.bundle();
    let chain: Vec<_> = issued.chain.into_iter().filter(|one| !bundle.roots.contains(one)).collect();
    verify_peer(&chain, &bundle, now + Duration::from_secs(1)).map(drop).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority as _;
    use crate::test_kit::{ECDSA, Mesh, RSA, USAGE, cacerts, issue, openssl};
    use crate::{Rotation, RotationError};

    /// Another authority below one that is there (its key, its certificate).
    fn authority(folder: &Path, key: &str, out: &str, subject: &str, above: (&str, &str), depth: &str) {
        let constraints = format!("basicConstraints=critical,CA:TRUE{depth}");
        let own = ["req", "-x509", "-nodes", "-days", "30", "-keyout", key, "-out", out, "-subj", subject];
        let issuer = ["-CA", above.1, "-CAkey", above.0];
        openssl(folder, &[&own[..], &ECDSA, &["-addext", &constraints, "-addext", USAGE], &issuer].concat());
    }

    fn open(mesh: &Mesh) -> Result<SelfSigned, OpenError> {
        SelfSigned::plugged_in(&mesh.ca(), &mesh.trust_domain, mesh.store.clone(), mesh.time.clock())
    }

    #[tokio::test]
    async fn an_authority_as_istio_has_it_signs_with_ecdsa_and_with_rsa() {
        for algorithm in [&ECDSA[..], &RSA[..]] {
            let mesh = Mesh::new();
            cacerts(&mesh.ca(), algorithm);
            mesh.time.advance(Duration::from_secs(3600));
            let authority = open(&mesh).unwrap();
            let issued = issue(&authority, &mesh.id("reviews"), None).await;
            assert_eq!(issued.chain.len(), 3);
            let bundle = authority.trust_bundle().borrow().clone();
            let svid = verify_peer(&issued.chain[..2], &bundle, mesh.time.clock().now()).unwrap().unwrap();
            assert_eq!(svid.id, mesh.id("reviews"));
            let entry = authority.ledger().entries().await.unwrap().remove(0);
            assert_eq!((entry.root, entry.issuer.contains("Intermediate CA")), (bundle.pin(), true));
            assert!(!mesh.ca().join("intermediate.pem").exists(), "nothing is written there");
            let refused = Rotation::new(Arc::new(authority), false).advance(false).await.unwrap_err();
            assert!(matches!(&refused, RotationError::Step(_)) && refused.to_string().contains("put others there"));
        }
    }

    #[tokio::test]
    async fn the_files_of_an_authority_that_was_made_here_can_be_plugged_in() {
        let mesh = Mesh::new();
        let made = mesh.authority().trust_bundle().borrow().pin();
        for (from, to) in [("root.pem", ROOTS), ("intermediate.pem", CERTIFICATE), ("intermediate-key.pem", KEY)] {
            fs::copy(mesh.ca().join(from), mesh.ca().join(to)).unwrap();
        }
        assert_eq!(open(&mesh).unwrap().trust_bundle().borrow().pin(), made);
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_with_its_file() {
        let mesh = Mesh::new();
        mesh.time.advance(Duration::from_secs(3600));
        let other = mesh.dir.path().join("other");
        cacerts(&other, &ECDSA);
        let refused = |change: &dyn Fn(&Path)| {
            let _ = fs::remove_dir_all(mesh.ca());
            cacerts(&mesh.ca(), &ECDSA);
            change(&mesh.ca());
            open(&mesh).err().unwrap().to_string()
        };
        let missing = refused(&|folder| fs::remove_file(folder.join(CERTIFICATE)).unwrap());
        assert!(missing.contains("ca-cert.pem cannot be read"), "{missing}");
        let key = refused(&|folder| {
            fs::copy(other.join(KEY), folder.join(KEY)).unwrap();
        });
        assert!(key.contains("ca-key.pem: it is not the key of ca-cert.pem"), "{key}");
        let root = refused(&|folder| {
            fs::copy(other.join(ROOTS), folder.join(ROOTS)).unwrap();
        });
        assert!(root.contains("neither it nor root-cert.pem has the certificate that signed"), "{root}");
        let empty = refused(&|folder| fs::write(folder.join(ROOTS), "").unwrap());
        assert!(empty.contains("root-cert.pem: there is no certificate in it"), "{empty}");
        let many = refused(&|folder| {
            let root = || rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
            let others: String = (0..16).map(|_| root()).collect();
            let own = fs::read_to_string(folder.join(ROOTS)).unwrap();
            fs::write(folder.join(ROOTS), own.clone() + &own + &others).unwrap();
        });
        assert!(many.contains("root-cert.pem: it has 17 roots, and a mesh trusts 16 at most"), "{many}");
        let leaf = refused(&|folder| {
            let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
            fs::write(folder.join(CERTIFICATE), made.cert.pem()).unwrap();
            fs::write(folder.join(KEY), made.signing_key.serialize_pem()).unwrap();
        });
        assert!(leaf.contains("ca-cert.pem: it may not sign certificates"), "{leaf}");
        let twice = refused(&|folder| {
            // A further authority below one that may have none below it.
            authority(folder, "middle-key.pem", "middle.pem", "/CN=Middle", ("root-key.pem", ROOTS), ",pathlen:0");
            authority(folder, KEY, CERTIFICATE, "/CN=Below", ("middle-key.pem", "middle.pem"), "");
            let chain = [CERTIFICATE, "middle.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
            fs::write(folder.join(CHAIN), chain.concat()).unwrap();
        });
        let words = "ca-cert.pem: certificates that it signs would be refused";
        assert!(twice.contains(words) && twice.contains("PathLen"), "{twice}");
        mesh.time.advance(Duration::from_secs(31 * 24 * 3600));
        let over = open(&mesh).err().unwrap().to_string();
        assert!(over.contains("ca-cert.pem: it has expired"), "{over}");
    }

    #[tokio::test]
    async fn constraints_on_names_of_servers_are_fine_and_on_uris_they_are_refused_at_once() {
        let mesh = Mesh::new();
        mesh.time.advance(Duration::from_secs(3600));
        let constrained = |constraints: &str| {
            let _ = fs::remove_dir_all(mesh.ca());
            cacerts(&mesh.ca(), &ECDSA);
            let own =
                ["req", "-x509", "-nodes", "-days", "30", "-keyout", KEY, "-out", CERTIFICATE, "-subj", "/CN=two"];
            let extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", USAGE, "-addext", constraints];
            let issuer = ["-CA", ROOTS, "-CAkey", "root-key.pem"];
            openssl(&mesh.ca(), &[&own[..], &ECDSA, &extensions[..], &issuer].concat());
            open(&mesh)
        };
        for fine in ["excluded;DNS:example.com", "permitted;DNS:example.com", "excluded;IP:0.0.0.0/0.0.0.0"] {
            let authority = constrained(&format!("nameConstraints=critical,{fine}")).unwrap();
            issue(&authority, &mesh.id("reviews"), None).await;
        }
        for bad in ["permitted;URI:cluster.local", "permitted;URI:other.example", "excluded;URI:other.example"] {
            let refused = constrained(&format!("nameConstraints=critical,{bad}")).err().unwrap().to_string();
            assert!(refused.contains("constraints on URIs are not evaluated"), "{bad}: {refused}");
        }
    }

    #[tokio::test]
    async fn nothing_outlives_what_is_above_it_and_what_ends_is_told() {
        let mesh = Mesh::new();
        cacerts(&mesh.ca(), &ECDSA);
        // The one in between ends first of all.
        let days = ["-days", "1"];
        let own = ["req", "-x509", "-nodes", "-keyout", "middle-key.pem", "-out", "middle.pem", "-subj", "/CN=Middle"];
        let extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", USAGE];
        let issuer = ["-CA", ROOTS, "-CAkey", "root-key.pem"];
        openssl(&mesh.ca(), &[&own[..], &ECDSA, &extensions, &issuer, &days].concat());
        authority(&mesh.ca(), KEY, CERTIFICATE, "/CN=Below", ("middle-key.pem", "middle.pem"), "");
        fs::copy(mesh.ca().join("middle.pem"), mesh.ca().join(CHAIN)).unwrap();
        mesh.time.advance(Duration::from_secs(60));
        let authority = open(&mesh).unwrap().with_ttl(Duration::from_secs(24 * 3600));
        let path = authority.path();
        let told: Vec<_> = path.iter().map(|(file, told)| (*file, told.subject.as_str())).collect();
        assert_eq!(told, [(CERTIFICATE, "CN=Below"), (CHAIN, "CN=Middle")]);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(path[1].1.not_after);
        mesh.time.advance(Duration::from_secs(12 * 3600));
        assert_eq!(issue(&authority, &mesh.id("reviews"), None).await.not_after, end);
        mesh.time.advance(Duration::from_secs(12 * 3600));
        let refused = authority.signer(mesh.time.clock().now()).err().unwrap().to_string();
        assert!(refused.contains("has expired; put new files there"), "{refused}");
    }

    #[tokio::test]
    async fn keys_are_taken_as_all_versions_of_openssl_write_them() {
        let mesh = Mesh::new();
        mesh.time.advance(Duration::from_secs(3600));
        for (algorithm, kind) in [(&ECDSA[..], "ec"), (&RSA[..], "rsa")] {
            let _ = fs::remove_dir_all(mesh.ca());
            cacerts(&mesh.ca(), algorithm);
            openssl(
                &mesh.ca(),
                &[kind, "-in", KEY, "-out", "old.pem", "-traditional"][..if kind == "rsa" { 6 } else { 5 }],
            );
            fs::rename(mesh.ca().join("old.pem"), mesh.ca().join(KEY)).unwrap();
            let begins = fs::read_to_string(mesh.ca().join(KEY)).unwrap();
            assert!(
                begins.contains(if kind == "rsa" { "BEGIN RSA PRIVATE KEY" } else { "BEGIN EC PRIVATE KEY" }),
                "{kind}"
            );
            issue(&open(&mesh).unwrap(), &mesh.id("reviews"), None).await;
        }
    }
}
