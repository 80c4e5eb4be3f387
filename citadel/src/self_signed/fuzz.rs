//! What the fuzzers in `fuzz/` call of this crate: each takes any bytes, must not panic, and holds a property besides. The
//! tests run them over the seeds. No part of the authority's interface.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use api::TrustDomain;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{INTERMEDIATE_TTL, Intermediate, Root, template};
use crate::attest::issuer_token::fuzz::issuer_token;
use crate::{IssueRequest, SubjectKey};

/// A fuzz target; its seeds stand in `fuzz/seeds/NAME/`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 2] = [("csr", csr), ("issuer_token", issuer_token)];

const ALLOWED: &str = "spiffe://cluster.local/ns/default/sa/reviews";

/// An authority that is nowhere on disk, and the key of whoever asks.
struct Fixture {
    root: Root,
    intermediate: Intermediate,
    now: SystemTime,
    client: KeyPair,
}

static FIXTURE: LazyLock<Option<Fixture>> = LazyLock::new(|| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let trust_domain = TrustDomain::new("cluster.local").ok()?;
    let key = KeyPair::generate().ok()?;
    let certificate = template::root(&trust_domain, &key, now).ok()?;
    let root = Root { name: String::new(), certificate, not_after: now + 2 * INTERMEDIATE_TTL };
    let intermediate = template::intermediate(&root, key, &trust_domain, now).ok()?;
    Some(Fixture { root, intermediate, now, client: KeyPair::generate().ok()? })
});

/// Any text as a signing request; any bytes as one in DER; and any bytes as the subject and the attributes of one whose
/// key signed it, which gets past the proof of possession. Whatever is signed has the URI that was allowed and no other
/// name, the key of the request, and no right to sign others.
///
/// # Panics
/// If that does not hold.
pub fn csr(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        certify(text);
    }
    certify(&pem(data));
    let Some(fixture) = &*FIXTURE else { return };
    let split = data.first().map_or(0, |at| usize::from(*at).min(data.len()));
    for (subject, attributes) in [data.split_at(split), (data, &[0xa0, 0][..]), (&[0x30, 0][..], data)] {
        if let Some(request) = signed(&fixture.client, subject, attributes)
            && let Some(key) = certify(&pem(&request))
        {
            assert_eq!(key, fixture.client.subject_public_key_info());
        }
    }
}

/// The key that was certified, if the request is taken.
fn certify(text: &str) -> Option<Vec<u8>> {
    let key = SubjectKey::from_csr_pem(text).ok()?;
    let Fixture { root, intermediate, now, .. } = FIXTURE.as_ref()?;
    let id = ALLOWED.parse().ok()?;
    let request = IssueRequest {
        id,
        key: key.clone(),
        ttl: None,
        member: None,
        attested_by: String::new(),
        renews: None,
        from: None,
    };
    let issued = template::sign_leaf(intermediate, &root.certificate, &request, *now, Duration::from_secs(3600));
    let issued = issued.expect("what is taken can be signed");
    let (rest, leaf) = X509Certificate::from_der(&issued.chain[0]).expect("what is signed is a certificate");
    assert!(rest.is_empty());
    let names = leaf.subject_alternative_name().expect("names can be read").expect("there are names");
    assert!(matches!(names.value.general_names[..], [GeneralName::URI(ALLOWED)]), "{:?}", names.value);
    assert_eq!(leaf.subject().iter().count(), 0, "a subject that was asked for");
    assert!(!leaf.is_ca(), "an authority");
    let usage = leaf.key_usage().expect("the usage can be read").expect("there is a usage").value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign(), "{usage}");
    assert_eq!(SubjectKey::of_spki(leaf.public_key().raw), key);
    Some(leaf.public_key().raw.to_vec())
}

/// A request (RFC 2986) with anything in the places of its subject and its attributes, signed with its key.
fn signed(key: &KeyPair, subject: &[u8], attributes: &[u8]) -> Option<Vec<u8>> {
    /// ecdsa-with-SHA256.
    const ALGORITHM: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let version = [2, 1, 0];
    let info = tagged(0x30, &[&version[..], subject, &key.subject_public_key_info(), attributes].concat());
    let signature = tagged(3, &[&[0][..], &key.sign(&info).ok()?].concat());
    let request = tagged(0x30, &[&info[..], &ALGORITHM, &signature].concat());
    // As much as a reader of DER takes for the whole of it.
    X509CertificationRequest::from_der(&request).ok()?;
    Some(request)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match content.len() {
        0..128 => vec![tag, length.first().copied().unwrap_or(0)],
        _ => [&[tag, 0x80 | u8::try_from(length.len()).unwrap_or_default()][..], length].concat(),
    };
    [&head[..], content].concat()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_seed_passes_its_target() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (name, target) in TARGETS {
            let files: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().collect();
            assert!(!files.is_empty(), "{name} has no seeds");
            files.into_iter().for_each(|file| target(&std::fs::read(file.unwrap().path()).unwrap()));
        }
    }

    #[test]
    fn a_request_with_a_subject_and_attributes_of_any_kind_reaches_the_authority() {
        let fixture = FIXTURE.as_ref().unwrap();
        let request = signed(&fixture.client, &[0x30, 0], &[0xa0, 0]).unwrap();
        assert_eq!(certify(&pem(&request)), Some(fixture.client.subject_public_key_info()));
    }
}
