//! What stands in the certificates: root, intermediate, leaf.

use std::time::{Duration, SystemTime};

use api::TrustDomain;
use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{INTERMEDIATE_TTL, Intermediate, MAX_BACKDATE, Root, backdate};
use crate::{IssueRequest, Issued};

const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The root's certificate, for the key that signs it.
pub fn root(trust_domain: &TrustDomain, key: &KeyPair, now: SystemTime) -> Result<CertificateDer<'static>, Error> {
    let mut params = authority("weft root", trust_domain, BasicConstraints::Constrained(1))?;
    date(&mut params, now - MAX_BACKDATE, now + ROOT_TTL);
    Ok(params.self_signed(key)?.into())
}

/// A root's certificate once more, with new dates. Its name must be the same to the byte: by name and key those who trust
/// the one before know what is below it.
pub fn root_again(
    before: &CertificateDer<'_>,
    trust_domain: &TrustDomain,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateDer<'static>, Error> {
    let parsed = |der| X509Certificate::from_der(der).map_err(|error| Error::X509(error.to_string()));
    let (_, old) = parsed(before)?;
    let mut params = authority("", trust_domain, BasicConstraints::Constrained(1))?;
    params.distinguished_name = DistinguishedName::new();
    for attribute in old.subject().iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter().into_iter().flatten().collect();
        let value = attribute.as_str().map_err(|error| Error::X509(error.to_string()))?;
        params.distinguished_name.push(DnType::from_oid(&oid), value);
    }
    date(&mut params, now - MAX_BACKDATE, now + ROOT_TTL);
    let made: CertificateDer<'static> = params.self_signed(key)?.into();
    if parsed(&made)?.1.subject().as_raw() != old.subject().as_raw() {
        return Err(Error::X509("its name cannot be written as it was".to_owned()));
    }
    Ok(made)
}

/// An intermediate and its fresh key. It may sign no further authority, and no server names or addresses. That it may
/// sign SPIFFE IDs of one trust domain only cannot be written down: rustls refuses every certificate under a
/// constraint on URIs, as it does not evaluate them.
pub fn intermediate(
    root: &Root,
    root_key: KeyPair,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Intermediate, Error> {
    let key = KeyPair::generate()?;
    let mut params = authority("weft intermediate", trust_domain, BasicConstraints::Constrained(0))?;
    params.name_constraints = Some(no_server_names());
    params.use_authority_key_identifier_extension = true;
    let (not_before, not_after) = date(&mut params, now - MAX_BACKDATE, root.not_after.min(now + INTERMEDIATE_TTL));
    let issuer = Issuer::from_ca_cert_der(&root.certificate, root_key)?;
    let certificate: CertificateDer<'static> = params.signed_by(&key, &issuer)?.into();
    let name = crate::describe(&certificate).map(|told| told.subject).unwrap_or_default();
    Ok(Intermediate { name, certificate, above: Vec::new(), key, not_before, not_after })
}

/// A workload's SVID. The subject names the member, if it is one; else it is empty, which makes the SPIFFE ID critical.
pub fn sign_leaf(
    intermediate: &Intermediate,
    root: &CertificateDer<'static>,
    request: &IssueRequest,
    now: SystemTime,
    ttl: Duration,
) -> Result<Issued, Error> {
    let mut params = blank(&request.id.to_string())?;
    if let Some(member) = &request.member {
        params.distinguished_name.push(DnType::CommonName, member.as_str());
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let start = (now - backdate(ttl)).max(intermediate.not_before);
    let (not_before, not_after) = date(&mut params, start, (now + ttl).min(intermediate.not_after));
    let serial = params.serial_number.as_ref().map(|serial| hex::encode(serial.to_bytes())).unwrap_or_default();
    let issuer = Issuer::from_ca_cert_der(&intermediate.certificate, &intermediate.key)?;
    let leaf: CertificateDer<'static> = params.signed_by(&request.key.to_rcgen()?, &issuer)?.into();
    let mut chain = vec![leaf, intermediate.certificate.clone()];
    chain.extend(intermediate.above.iter().cloned());
    // A root that is plugged in may sign by itself.
    if intermediate.certificate != *root {
        chain.push(root.clone());
    }
    Ok(Issued { chain, serial, not_before, not_after })
}

fn authority(name: &str, trust_domain: &TrustDomain, depth: BasicConstraints) -> Result<CertificateParams, Error> {
    let mut params = blank(&format!("spiffe://{trust_domain}"))?;
    let serial = params.serial_number.as_ref().map(|serial| hex::encode(&serial.to_bytes()[..4])).unwrap_or_default();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain.as_str());
    // Two authorities of one name must not be mistaken for each other when a chain is built.
    params.distinguished_name.push(DnType::CommonName, format!("{name} {serial}"));
    params.is_ca = IsCa::Ca(depth);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A random serial number and one URI.
fn blank(uri: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// 128 random bits, of which the first is 0 and the second 1: positive, and always 16 bytes long.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| Error::RingUnspecified)?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn no_server_names() -> NameConstraints {
    let excluded_subtrees = vec![
        GeneralSubtree::DnsName(String::new()),
        GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
    ];
    NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees }
}

/// Sets the validity in whole seconds, rounded outwards, and returns it.
fn date(params: &mut CertificateParams, from: SystemTime, to: SystemTime) -> (SystemTime, SystemTime) {
    let (from, to) = (super::unix(from), super::unix(to + Duration::from_nanos(999_999_999)));
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    params.not_before = OffsetDateTime::from(at(from));
    params.not_after = OffsetDateTime::from(at(to));
    (at(from), at(to))
}
