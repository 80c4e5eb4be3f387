//! Which of a server's certificates is shown: one for the name that is asked for, with a key that the client can check.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names;

#[derive(Debug)]
pub struct Certificates {
    /// With the names that each is for. There is at least one; the first is shown where none fits.
    all: Vec<(Vec<String>, Arc<CertifiedKey>)>,
    /// Whether the first is shown only if no other can be checked by the client, where none is for the name.
    full_scan: bool,
}

impl Certificates {
    pub fn new(all: Vec<CertifiedKey>, full_scan: bool) -> Self {
        let named = all.into_iter().map(|certified| {
            let names = certified.cert.first().map(|leaf| names::server_names(leaf)).unwrap_or_default();
            (names, Arc::new(certified))
        });
        Self { all: named.collect(), full_scan }
    }

    /// Of those for which `fits` holds: the first that the client can check, preferring ECDSA as it is cheaper.
    fn best(
        &self,
        fits: impl Fn(&[String]) -> bool,
        checks: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<CertifiedKey>> {
        let fitting = || self.all.iter().filter(|(names, _)| fits(names)).map(|(_, certified)| certified);
        let is_ecdsa = |certified: &&Arc<CertifiedKey>| {
            certified.key.algorithm() == rustls::SignatureAlgorithm::ECDSA && checks(certified)
        };
        fitting().find(is_ecdsa).or_else(|| fitting().find(|certified| checks(certified))).or_else(|| fitting().next())
    }

    fn pick(&self, name: Option<&str>, checks: impl Fn(&CertifiedKey) -> bool) -> Option<&Arc<CertifiedKey>> {
        let exact = |name: &str| self.best(|names| names.iter().any(|own| own.eq_ignore_ascii_case(name)), &checks);
        let wild = |name: &str| self.best(|names| names.iter().any(|own| names::dns_matches(own, name)), &checks);
        let named = name.and_then(|name| exact(name).or_else(|| wild(name)));
        named.or_else(|| match name {
            Some(_) if !self.full_scan => self.all.first().map(|(_, certified)| certified),
            _ => self.best(|_| true, &checks),
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.pick(hello.server_name(), |certified| certified.key.choose_scheme(schemes).is_some()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::SignatureAlgorithm;

    fn certified(names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm) -> CertifiedKey {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let leaf = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().clone();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        CertifiedKey::new(vec![leaf], rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap())
    }

    /// The place of the certificate that is shown for a name.
    fn shown(certificates: &Certificates, name: Option<&str>, ecdsa: bool) -> usize {
        let checks = |certified: &CertifiedKey| ecdsa || certified.key.algorithm() != SignatureAlgorithm::ECDSA;
        let picked = certificates.pick(name, checks).unwrap();
        certificates.all.iter().position(|(_, one)| Arc::ptr_eq(one, picked)).unwrap()
    }

    #[test]
    fn the_name_comes_first_then_the_kind_of_key() {
        let (ecdsa, ed25519) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519);
        let all = || {
            vec![
                certified(&["first.example"], ed25519),
                certified(&["*.a.example"], ed25519),
                certified(&["x.a.example"], ed25519),
                certified(&["x.a.example"], ecdsa),
            ]
        };
        let certificates = Certificates::new(all(), false);
        for (name, ecdsa, expected) in [
            (Some("first.example"), true, 0),
            (Some("y.a.example"), true, 1),
            (Some("X.a.example"), true, 3),
            (Some("x.a.example"), false, 2),
            (Some("unknown.example"), true, 0),
            (None, true, 3),
            (None, false, 0),
        ] {
            assert_eq!(shown(&certificates, name, ecdsa), expected, "{name:?}, ECDSA {ecdsa}");
        }
        assert_eq!(shown(&Certificates::new(all(), true), Some("unknown.example"), true), 3);
    }
}
