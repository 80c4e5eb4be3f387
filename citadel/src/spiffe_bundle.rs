//! The trust domain's bundle as other trust domains read it: a set of keys in JSON (SPIFFE Trust Domain and Bundle,
//! section 4), with the roots of certificates and the keys of tokens.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Store, StoreError, Transaction};
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use crate::ledger::unreadable;
use crate::{JwtKeys, TrustBundle, sha256};

/// How often others should ask, in seconds.
const REFRESH: u64 = 300;
const KEY: &str = "bundle-sequence";
/// How often the count is tried where several control planes write it.
const ATTEMPTS: usize = 8;

/// The bundle, counted: whoever has read one knows which of two is newer. Cloning shares.
#[derive(Clone)]
pub struct SpiffeBundle {
    roots: watch::Receiver<Arc<TrustBundle>>,
    keys: watch::Receiver<Arc<JwtKeys>>,
    store: Arc<dyn Store>,
}

/// The last one that was told of.
#[derive(Default, Serialize, Deserialize)]
struct Told {
    /// SHA-256 of its keys.
    digest: String,
    sequence: u64,
}

impl SpiffeBundle {
    pub fn new(
        roots: watch::Receiver<Arc<TrustBundle>>,
        keys: watch::Receiver<Arc<JwtKeys>>,
        store: Arc<dyn Store>,
    ) -> Self {
        Self { roots, keys, store }
    }

    /// The document as it is now. Its count grows whenever the keys differ from those that were told before.
    pub async fn document(&self) -> Result<Value, StoreError> {
        let keys = keys(&self.roots.borrow(), &self.keys.borrow());
        let digest = sha256(Value::from(keys.clone()).to_string().as_bytes());
        for _ in 0..ATTEMPTS {
            let (told, revision) = self.told().await?;
            if told.digest == digest {
                return Ok(document(keys, told.sequence));
            }
            let next = Told { digest: digest.clone(), sequence: told.sequence + 1 };
            let value = serde_json::to_vec(&next).map_err(|error| unreadable(KEY, &error))?;
            match self.store.commit(Transaction::put(KEY, value).expecting(KEY, revision)).await {
                Ok(_) => return Ok(document(keys, next.sequence)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(document(keys, self.told().await?.0.sequence))
    }

    /// The keys of tokens alone, as OpenID Connect has them.
    pub fn jwks(&self) -> Value {
        self.keys.borrow().jwks()
    }

    async fn told(&self) -> Result<(Told, u64), StoreError> {
        let Some(entry) = self.store.get(KEY).await? else { return Ok((Told::default(), 0)) };
        let told = serde_json::from_slice(&entry.value).map_err(|error| unreadable(KEY, &error))?;
        Ok((told, entry.revision))
    }
}

fn document(keys: Vec<Value>, sequence: u64) -> Value {
    json!({ "keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": REFRESH })
}

fn keys(roots: &TrustBundle, tokens: &JwtKeys) -> Vec<Value> {
    let roots = roots.roots.iter().filter_map(|root| authority(root));
    let tokens = tokens.iter().map(|key| {
        let mut key = json!(key);
        key["use"] = "jwt-svid".into();
        key
    });
    roots.chain(tokens).collect()
}

/// A root as a key: RFC 7517 section 4.7 and RFC 7518 section 6. `None` if its key is of no kind that those know.
fn authority(der: &[u8]) -> Option<Value> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let x5c = json!([STANDARD.encode(der)]);
    let number = |bytes: &[u8]| {
        let start = bytes.iter().take_while(|byte| **byte == 0).count();
        URL_SAFE_NO_PAD.encode(&bytes[start..])
    };
    match certificate.public_key().parsed().ok()? {
        PublicKey::EC(point) => {
            let (curve, size) = match point.data().len() {
                65 => ("P-256", 32),
                97 => ("P-384", 48),
                133 => ("P-521", 66),
                _ => return None,
            };
            let coordinates = point.data().get(1..)?;
            let (x, y) = coordinates.split_at_checked(size)?;
            let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            Some(json!({
                "use": "x509-svid", "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y), "x5c": x5c
            }))
        }
        PublicKey::RSA(key) => Some(json!({
            "use": "x509-svid", "kty": "RSA", "n": number(key.modulus), "e": number(key.exponent), "x5c": x5c
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_kit::Mesh;
    use crate::{Authority as _, JwtAuthority};

    #[tokio::test]
    async fn the_document_has_roots_and_keys_of_tokens_and_counts_its_changes() {
        let mesh = Mesh::new();
        let authority = mesh.authority();
        let ca = mesh.ca();
        let jwt = JwtAuthority::open(&ca, &mesh.trust_domain, None, mesh.store.clone(), mesh.time.clock());
        let jwt = jwt.await.unwrap();
        let bundle = SpiffeBundle::new(authority.trust_bundle(), jwt.told(), mesh.store.clone());
        let first = bundle.document().await.unwrap();
        let uses = |document: &Value| {
            let keys = document["keys"].as_array().unwrap().iter();
            keys.map(|key| key["use"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(uses(&first), ["x509-svid", "jwt-svid"]);
        assert_eq!((first["spiffe_sequence"].as_u64(), first["spiffe_refresh_hint"].as_u64()), (Some(1), Some(300)));
        let root = &first["keys"][0];
        let der = STANDARD.decode(root["x5c"][0].as_str().unwrap()).unwrap();
        assert_eq!(der, authority.trust_bundle().borrow().roots[0].as_ref());
        assert_eq!((root["kty"].as_str(), root["crv"].as_str()), (Some("EC"), Some("P-256")));
        assert!(root["kid"].is_null(), "a key of certificates has no id");
        assert!(first["keys"][1]["kid"].is_string());
        assert_eq!(bundle.document().await.unwrap(), first, "nothing changed");

        // Two roots while they change, and a greater count.
        authority.advance().unwrap();
        authority.advance().unwrap();
        let second = bundle.document().await.unwrap();
        assert_eq!(uses(&second), ["x509-svid", "x509-svid", "jwt-svid"]);
        assert_eq!(second["spiffe_sequence"], 2);
        // Also after a restart.
        let again = SpiffeBundle::new(authority.trust_bundle(), jwt.told(), mesh.store.clone());
        assert_eq!(again.document().await.unwrap(), second);
        assert!(!second.to_string().contains("\"d\""));
    }

    #[test]
    fn roots_on_other_curves_are_told_too() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let told = authority(root.der()).unwrap();
        assert_eq!((told["crv"].as_str(), told["x"].as_str().unwrap().len()), (Some("P-384"), 64));
        assert_eq!(authority(b"no certificate"), None);
    }
}
