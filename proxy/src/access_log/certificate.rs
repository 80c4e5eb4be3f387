//! What the `DOWNSTREAM_PEER_…` operators say of a client's certificate. It is read when a line is written, so that a
//! connection whose log does not ask pays nothing.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::config::SanKind;
use crate::tls::names::subject_alt_names;
use crate::tls::pem;

/// Which fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFact {
    Subject,
    Issuer,
    Serial,
    Fingerprint256,
    Fingerprint1,
    UriSan,
    DnsSan,
    IpSan,
    EmailSan,
    Pem,
    /// All certificates of the chain, one after another.
    ChainPem,
    ChainFingerprints256,
    ChainFingerprints1,
    ChainSerials,
}

impl CertificateFact {
    pub fn parse(operator: &str) -> Option<Self> {
        Some(match operator {
            "DOWNSTREAM_PEER_SUBJECT" => Self::Subject,
            "DOWNSTREAM_PEER_ISSUER" => Self::Issuer,
            "DOWNSTREAM_PEER_SERIAL" => Self::Serial,
            "DOWNSTREAM_PEER_FINGERPRINT_256" => Self::Fingerprint256,
            "DOWNSTREAM_PEER_FINGERPRINT_1" => Self::Fingerprint1,
            "DOWNSTREAM_PEER_URI_SAN" => Self::UriSan,
            "DOWNSTREAM_PEER_DNS_SAN" => Self::DnsSan,
            "DOWNSTREAM_PEER_IP_SAN" => Self::IpSan,
            "DOWNSTREAM_PEER_EMAIL_SAN" => Self::EmailSan,
            "DOWNSTREAM_PEER_CERT" => Self::Pem,
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256" => Self::ChainFingerprints256,
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1" => Self::ChainFingerprints1,
            "DOWNSTREAM_PEER_CHAIN_SERIALS" => Self::ChainSerials,
            _ => return None,
        })
    }

    /// The fact as Envoy prints it, from a chain with the leaf first.
    pub fn of(self, chain: &[CertificateDer<'static>]) -> Option<String> {
        let leaf = chain.first()?;
        match self {
            Self::Fingerprint256 => Some(fingerprint(&SHA256, leaf)),
            Self::Fingerprint1 => Some(fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, leaf)),
            Self::ChainFingerprints256 => Some(joined(chain.iter().map(|one| fingerprint(&SHA256, one)))),
            Self::ChainFingerprints1 => {
                Some(joined(chain.iter().map(|one| fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, one))))
            }
            Self::ChainSerials => Some(joined(chain.iter().filter_map(|one| Some(serial(&parse(one)?))))),
            Self::Pem => Some(pem::url_encoded(leaf)),
            Self::ChainPem => Some(chain.iter().map(|one| pem::url_encoded(one)).collect()),
            Self::Subject => parse(leaf).map(|leaf| name(leaf.subject())),
            Self::Issuer => parse(leaf).map(|leaf| name(leaf.issuer())),
            Self::Serial => parse(leaf).map(|leaf| serial(&leaf)),
            Self::UriSan | Self::DnsSan | Self::IpSan | Self::EmailSan => {
                Some(joined(self.names(chain).into_iter())).filter(|text| !text.is_empty())
            }
        }
    }

    /// The alternative names of this kind, one by one: what stands in one of them is nobody else's word.
    pub fn names(self, chain: &[CertificateDer<'static>]) -> Vec<String> {
        let kind = match self {
            Self::UriSan => SanKind::Uri,
            Self::DnsSan => SanKind::Dns,
            Self::IpSan => SanKind::Ip,
            Self::EmailSan => SanKind::Email,
            _ => return Vec::new(),
        };
        chain.first().map(|leaf| of_kind(leaf, kind).collect()).unwrap_or_default()
    }
}

fn of_kind(leaf: &CertificateDer<'_>, wanted: SanKind) -> impl Iterator<Item = String> + use<> {
    subject_alt_names(leaf).into_iter().filter(move |(kind, _)| *kind == wanted).map(|(_, name)| name)
}

/// What a leaf calls its holder: URIs, DNS names, the subject.
pub(super) fn names(chain: &[CertificateDer<'static>]) -> Vec<String> {
    let Some(leaf) = chain.first() else { return Vec::new() };
    let Some(parsed) = parse(leaf) else { return Vec::new() };
    of_kind(leaf, SanKind::Uri).chain(of_kind(leaf, SanKind::Dns)).chain([name(parsed.subject())]).collect()
}

/// When a certificate's validity begins or ends.
pub(super) fn validity(chain: &[CertificateDer<'static>], end: bool) -> Option<SystemTime> {
    let leaf = parse(chain.first()?)?;
    let at = if end { leaf.validity().not_after } else { leaf.validity().not_before };
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(at.timestamp()).ok()?))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn fingerprint(by: &'static Algorithm, certificate: &CertificateDer<'_>) -> String {
    hex::encode(digest(by, certificate))
}

fn serial(certificate: &X509Certificate<'_>) -> String {
    let bytes = certificate.raw_serial();
    hex::encode(bytes.iter().position(|byte| *byte != 0).map_or(bytes, |first| &bytes[first..]))
}

/// A distinguished name in RFC 2253's form: the last part first, special characters escaped.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut out = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            out.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            let kind = attribute.attr_type();
            let kind = x509_parser::objects::oid2abbrev(kind, x509_parser::objects::oid_registry())
                .map_or_else(|_| kind.to_id_string(), str::to_owned);
            let _ = write!(out, "{kind}=");
            escape(attribute.as_str().unwrap_or_default(), &mut out);
        }
    }
    out
}

fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        let edge = char == ' ' && (index == 0 || index == last) || char == '#' && index == 0;
        if edge || matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_described_in_envoys_words() {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Weft, Inc");
        params.distinguished_name.push(rcgen::DnType::CommonName, "client");
        params.serial_number = Some(vec![0x00, 0x0a, 0xbc].into());
        params.not_before = rcgen::date_time_ymd(2024, 1, 2);
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = [params.self_signed(&key).unwrap().der().clone()];
        let of = |fact: CertificateFact| fact.of(&chain);
        assert_eq!(of(CertificateFact::Subject).unwrap(), r"CN=client,O=Weft\, Inc");
        assert_eq!(of(CertificateFact::Serial).unwrap(), "0abc");
        assert_eq!(of(CertificateFact::DnsSan).unwrap(), "a.example,b.example");
        assert_eq!(of(CertificateFact::UriSan), None);
        assert_eq!(of(CertificateFact::Fingerprint256).map(|text| text.len()), Some(64));
        assert_eq!(of(CertificateFact::ChainFingerprints1), of(CertificateFact::Fingerprint1));
        assert!(of(CertificateFact::Pem).unwrap().starts_with("-----BEGIN%20CERTIFICATE-----%0AMI"));
        assert_eq!(validity(&chain, false), UNIX_EPOCH.checked_add(Duration::from_secs(1_704_153_600)));
        assert_eq!(CertificateFact::Subject.of(&[]), None);
    }
}
