//! The agent's directory. A key and its certificate are two files, so a crash between the two must not lose either:
//! the new key is written as `next-key.pem`, then the chain, and last the key is renamed. Whichever key fits the chain
//! is the one in use; a next key without a chain is one whose signing was asked for and not answered yet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::DenyList;
use api::prost::Message as _;
use api::weft::v1 as wire;
use rcgen::KeyPair;
use runtime::files::{PRIVATE, PUBLIC, create_private_dir, write_atomic};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::{IdentityError, Svid};
use crate::tls::pem;

const KEY: &str = "key.pem";
const NEXT_KEY: &str = "next-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";
/// A `weft.v1.Bundle` without roots.
const DENIED: &str = "deny-list.pb";

/// See the module's description.
pub struct Files {
    dir: PathBuf,
}

impl Files {
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        create_private_dir(dir).map_err(|cause| IdentityError::File { path: dir.to_owned(), cause })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The identity that is kept, valid or not; the error says why there is none.
    pub fn load(&self) -> Result<Svid, String> {
        let (chain, roots) = (self.certificates(CHAIN)?, self.certificates(ROOTS)?);
        let with_key = |name| {
            let key = self.key(name)?.ok_or_else(|| format!("{name} is missing"))?;
            let svid = Svid::new(chain.clone(), &Zeroizing::new(key.serialize_der()), roots.clone());
            svid.map(|svid| svid.with_denied(self.denied())).map_err(|error| error.to_string())
        };
        let in_use = with_key(KEY);
        if in_use.is_err()
            && let Ok(svid) = with_key(NEXT_KEY)
        {
            self.take_next_key().map_err(|error| error.to_string())?;
            return Ok(svid);
        }
        in_use
    }

    /// The key of the identity that is kept.
    pub fn key_in_use(&self) -> Result<KeyPair, IdentityError> {
        let missing = |cause: String| IdentityError::BadAnswer(format!("the kept key is of no use: {cause}"));
        self.key(KEY).map_err(missing)?.ok_or_else(|| missing(format!("{KEY} is missing")))
    }

    /// The key of a join that was not answered yet, or a new one, kept before anybody signs it.
    pub fn pending_key(&self) -> Result<KeyPair, IdentityError> {
        if let Ok(Some(key)) = self.key(NEXT_KEY) {
            return Ok(key);
        }
        let key = KeyPair::generate()?;
        self.write(NEXT_KEY, &Zeroizing::new(key.serialize_pem()), PRIVATE)?;
        Ok(key)
    }

    /// Keeps a new identity in place of the old.
    pub fn store(&self, svid: &Svid, key: &KeyPair) -> Result<(), IdentityError> {
        self.write(NEXT_KEY, &Zeroizing::new(key.serialize_pem()), PRIVATE)?;
        self.write(ROOTS, &pem::certificates(svid.roots()), PUBLIC)?;
        self.write(CHAIN, &pem::certificates(svid.chain()), PUBLIC)?;
        self.take_next_key()
    }

    /// Keeps other roots beside the same certificate.
    pub fn store_roots(&self, roots: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
        self.write(ROOTS, &pem::certificates(roots), PUBLIC)
    }

    /// Keeps who is turned away.
    pub fn store_denied(&self, denied: &DenyList) -> Result<(), IdentityError> {
        let path = self.dir.join(DENIED);
        let list = wire::Bundle { roots: Vec::new(), denied: denied.to_wire() };
        write_atomic(&path, &list.encode_to_vec(), PUBLIC).map_err(|cause| IdentityError::File { path, cause })
    }

    /// Who was turned away last; nobody where that was never told.
    fn denied(&self) -> Arc<DenyList> {
        let read = fs::read(self.dir.join(DENIED)).unwrap_or_default();
        let list = wire::Bundle::decode(read.as_slice()).unwrap_or_else(|error| {
            tracing::warn!(file = DENIED, %error, "who was denied last cannot be read; the control plane tells it again");
            wire::Bundle::default()
        });
        Arc::new(DenyList::of_wire(&list.denied))
    }

    fn take_next_key(&self) -> Result<(), IdentityError> {
        let path = self.dir.join(KEY);
        fs::rename(self.dir.join(NEXT_KEY), &path).map_err(|cause| IdentityError::File { path, cause })
    }

    fn certificates(&self, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let text = self.read(name)?.ok_or_else(|| format!("{name} is missing"))?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        read.map_err(|error| format!("{name} cannot be read: {error}"))
    }

    fn key(&self, name: &str) -> Result<Option<KeyPair>, String> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        KeyPair::from_pem(&text).map(Some).map_err(|error| format!("{name} cannot be read: {error}"))
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, String> {
        match fs::read_to_string(self.dir.join(name)) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{name} cannot be read: {error}")),
        }
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), IdentityError> {
        let path = self.dir.join(name);
        write_atomic(&path, text.as_bytes(), mode).map_err(|cause| IdentityError::File { path, cause })
    }
}
