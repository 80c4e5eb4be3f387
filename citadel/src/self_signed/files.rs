//! The authority's directory: `root.pem`, `root-key.pem`, `intermediate.pem`, `intermediate-key.pem`. Once a root was
//! replaced, or is about to be, `rotation.json` says which files are the root that signs, and which the other one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use rcgen::KeyPair;
use runtime::files::{PRIVATE, PUBLIC, create_private_dir, write_atomic};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::{Intermediate, Plan, Root, template};
use crate::Disagreement;

const PLAN: &str = "rotation.json";

/// Why the authority cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path} cannot be read or written: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("{path} does not hold what it should: {cause}; restore it from a backup")]
    Content { path: PathBuf, cause: String },
    #[error("{path} is there, but its key {key} is not; restore the key from a backup, or move the directory away")]
    KeyMissing { path: PathBuf, key: PathBuf },
    #[error("{path} is the root of {found}, not of {wanted}; give another --data-dir or the same trust domain")]
    TrustDomain { path: PathBuf, found: String, wanted: TrustDomain },
    #[error("{path} expired; give it new dates with `weft ca renew-root`: who trusts it goes on trusting it")]
    Expired { path: PathBuf },
    #[error("{path}: {rule}")]
    Rule { path: PathBuf, rule: String },
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    #[error("a certificate of the authority cannot be made: {0}")]
    Making(#[from] rcgen::Error),
}

pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        create_private_dir(path).map_err(|cause| OpenError::File { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned() })
    }

    /// One that is somebody else's: nothing is made or written there.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which roots there are.
    pub fn plan(&self) -> Result<Plan, OpenError> {
        let Some(text) = self.read(PLAN)? else { return Ok(Plan::default()) };
        serde_json::from_str(&text).map_err(|cause| self.damaged(PLAN, cause.to_string()))
    }

    /// From here on the roots are these, also after a crash.
    pub fn set_plan(&self, plan: &Plan) -> Result<(), OpenError> {
        let text = serde_json::to_string_pretty(plan).map_err(|cause| self.damaged(PLAN, cause.to_string()))?;
        self.write(PLAN, &text, PRIVATE)
    }

    pub fn file_of_root(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.pem"))
    }

    /// A root that is there, whatever its age.
    pub fn root(&self, name: &str) -> Result<Root, OpenError> {
        let path = self.file_of_root(name);
        let none = "there is no root of trust here; the files of --ca-dir are replaced where they are".to_owned();
        let missing = || OpenError::Rule { path: path.clone(), rule: none };
        let certificate = self.certificate(&format!("{name}.pem"))?.ok_or_else(missing)?;
        let not_after = instant(parse(&path, &certificate)?.validity().not_after.timestamp());
        Ok(Root { name: name.to_owned(), certificate, not_after })
    }

    pub fn root_key(&self, name: &str) -> Result<KeyPair, OpenError> {
        let missing = || OpenError::KeyMissing { path: self.file_of_root(name), key: self.path.join(key_of(name)) };
        self.key(&key_of(name))?.ok_or_else(missing)
    }

    /// What a root's certificate was before it got new dates.
    pub fn root_before(&self, name: &str) -> Result<Option<CertificateDer<'static>>, OpenError> {
        self.certificate(&format!("{name}-before.pem"))
    }

    /// Puts another certificate of the same root in the place of one, which is kept beside it.
    pub fn replace_root(
        &self,
        name: &str,
        before: &CertificateDer<'_>,
        certificate: &CertificateDer<'_>,
    ) -> Result<(), OpenError> {
        self.write(&format!("{name}-before.pem"), &pem(before), PUBLIC)?;
        self.write(&format!("{name}.pem"), &pem(certificate), PUBLIC)
    }

    /// A root that was made elsewhere; its key first, as with one that is made here.
    pub fn put_root(&self, name: &str, certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), OpenError> {
        check_pair(&self.file_of_root(name), certificate, key)?;
        self.write(&key_of(name), &Zeroizing::new(key.serialize_pem()), PRIVATE)?;
        self.write(&format!("{name}.pem"), &pem(certificate), PUBLIC)
    }

    /// Deletes a root that is of no use any more; what stays behind is unused.
    pub fn discard_root(&self, name: &str) {
        for file in [key_of(name), format!("{name}.pem"), format!("{name}-before.pem")] {
            if let Err(error) = fs::remove_file(self.path.join(&file))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file, %error, "a root that is no longer used cannot be deleted");
            }
        }
    }

    /// The key is written first, so a root certificate without one is always damage, never an interrupted start.
    pub fn load_or_make_root(
        &self,
        name: &str,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Root, OpenError> {
        let file = format!("{name}.pem");
        let path = self.path.join(&file);
        let key_path = self.path.join(key_of(name));
        let certificate = match (self.certificate(&file)?, self.key(&key_of(name))?) {
            (Some(_), None) => return Err(OpenError::KeyMissing { path, key: key_path }),
            (Some(certificate), Some(key)) => {
                check_pair(&path, &certificate, &key)?;
                certificate
            }
            (None, key) => self.make_root(name, trust_domain, key, now)?,
        };
        let not_after = instant(parse(&path, &certificate)?.validity().not_after.timestamp());
        let root = Root { name: name.to_owned(), not_after, certificate };
        self.check_trust_domain(&root, trust_domain)?;
        if not_after <= now {
            return Err(OpenError::Expired { path });
        }
        Ok(root)
    }

    pub fn check_trust_domain(&self, root: &Root, trust_domain: &TrustDomain) -> Result<(), OpenError> {
        let path = self.file_of_root(&root.name);
        let found = uri(&parse(&path, &root.certificate)?);
        if found == format!("spiffe://{trust_domain}") {
            return Ok(());
        }
        Err(OpenError::TrustDomain { path, found, wanted: trust_domain.clone() })
    }

    fn make_root(
        &self,
        name: &str,
        trust_domain: &TrustDomain,
        key: Option<KeyPair>,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, OpenError> {
        let key = match key {
            Some(key) => key,
            None => self.write_key(&key_of(name), KeyPair::generate()?)?,
        };
        let certificate = template::root(trust_domain, &key, now)?;
        self.write(&format!("{name}.pem"), &pem(&certificate), PUBLIC)?;
        tracing::info!(directory = %self.path.display(), %trust_domain, "made a new root of trust");
        Ok(certificate)
    }

    /// `None`: there is none that can be used, so one must be made.
    pub fn load_intermediate(&self, root: &Root, now: SystemTime) -> Result<Option<Intermediate>, OpenError> {
        let (Some(certificate), Some(key)) = (self.certificate("intermediate.pem")?, self.key("intermediate-key.pem")?)
        else {
            return Ok(None);
        };
        let path = self.path.join("intermediate.pem");
        let parsed = parse(&path, &certificate)?;
        let issuer = parse(&path, &root.certificate)?;
        let usable = check_pair(&path, &certificate, &key).is_ok()
            && parsed.verify_signature(Some(issuer.public_key())).is_ok()
            && instant(parsed.validity().not_after.timestamp()) > now;
        let not_before = instant(parsed.validity().not_before.timestamp());
        let not_after = instant(parsed.validity().not_after.timestamp());
        let name = parsed.subject().to_string();
        Ok(usable.then_some(Intermediate { name, above: Vec::new(), key, not_before, not_after, certificate }))
    }

    pub fn make_intermediate(
        &self,
        root: &Root,
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Intermediate, OpenError> {
        let (certificate, key) = (format!("{}.pem", root.name), key_of(&root.name));
        let missing = || OpenError::KeyMissing { path: self.path.join(certificate), key: self.path.join(&key) };
        let root_key = self.key(&key)?.ok_or_else(missing)?;
        let mut made = template::intermediate(root, root_key, trust_domain, now)?;
        made.key = self.write_key("intermediate-key.pem", made.key)?;
        self.write("intermediate.pem", &pem(&made.certificate), PUBLIC)?;
        Ok(made)
    }

    fn certificate(&self, name: &str) -> Result<Option<CertificateDer<'static>>, OpenError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let der = CertificateDer::from_pem_slice(text.as_bytes());
        der.map(Some).map_err(|cause| self.damaged(name, cause.to_string()))
    }

    fn key(&self, name: &str) -> Result<Option<KeyPair>, OpenError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        KeyPair::from_pem(&text).map(Some).map_err(|cause| self.damaged(name, cause.to_string()))
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, OpenError> {
        match fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(OpenError::File { path: self.path.join(name), cause }),
        }
    }

    fn write_key(&self, name: &str, key: KeyPair) -> Result<KeyPair, OpenError> {
        self.write(name, &Zeroizing::new(key.serialize_pem()), PRIVATE)?;
        Ok(key)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), OpenError> {
        let path = self.path.join(name);
        write_atomic(&path, text.as_bytes(), mode).map_err(|cause| OpenError::File { path, cause })
    }

    fn damaged(&self, name: &str, cause: String) -> OpenError {
        OpenError::Content { path: self.path.join(name), cause }
    }
}

fn key_of(name: &str) -> String {
    format!("{name}-key.pem")
}

/// A certificate in PEM.
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn parse<'a>(path: &Path, der: &'a [u8]) -> Result<X509Certificate<'a>, OpenError> {
    let parsed = X509Certificate::from_der(der);
    parsed
        .map(|(_, certificate)| certificate)
        .map_err(|error| OpenError::Content { path: path.to_owned(), cause: error.to_string() })
}

pub fn check_pair(path: &Path, certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), OpenError> {
    use rcgen::PublicKeyData as _;
    if parse(path, certificate)?.public_key().raw == key.subject_public_key_info() {
        return Ok(());
    }
    Err(OpenError::Content { path: path.to_owned(), cause: "the certificate is not for the key beside it".to_owned() })
}

fn uri(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let found = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
    });
    found.unwrap_or_else(|| "no trust domain".to_owned())
}

pub fn instant(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix.try_into().unwrap_or(0))
}
