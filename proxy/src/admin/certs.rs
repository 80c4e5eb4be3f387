//! `/certs`: Envoy's `admin.v3.Certificates`.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Admin, Answer, json as answer_json, timestamp};
use crate::config::{CertificateSource, CommonTls, Secret, Snapshot, ValidationSource};

impl Admin {
    pub(super) fn certs(&self) -> Answer {
        let snapshot = self.data_plane.snapshots().borrow().clone();
        let mut all = Vec::new();
        if let Some(identity) = &self.identity {
            let svid = identity.current();
            all.push(json!({"cert_chain": [{
                "serial_number": svid.serial(),
                "subject_alt_names": [{"uri": svid.id().to_string()}],
                "days_until_expiration": days_until(svid.not_after()),
                "valid_from": timestamp(svid.not_before()),
                "expiration_time": timestamp(svid.not_after()),
            }]}));
        }
        all.extend(contexts(&snapshot).map(|tls| of_context(tls, &snapshot)).filter(|one| !one.is_null()));
        answer_json(&json!({"certificates": all}))
    }
}

fn contexts(snapshot: &Snapshot) -> impl Iterator<Item = &CommonTls> {
    let listeners = snapshot.listeners.values();
    let chains = listeners.flat_map(|listener| listener.filter_chains.iter().chain(&listener.default_filter_chain));
    let downstream = chains.filter_map(|chain| chain.tls.as_deref()).map(|tls| &tls.common);
    let upstream = snapshot.clusters.values().flat_map(|cluster| {
        let matched = cluster.transport_socket_matches.iter().filter_map(|matched| matched.tls.as_deref());
        cluster.tls.as_deref().into_iter().chain(matched).map(|tls| &tls.common)
    });
    downstream.chain(upstream)
}

fn of_context(tls: &CommonTls, snapshot: &Snapshot) -> Value {
    let held = |name: &String| snapshot.secrets.get(name).map(|secret| &**secret);
    let certificates = tls.certificates.iter().filter_map(|source| match source {
        CertificateSource::Inline(secret) => Some(&**secret),
        CertificateSource::Sds(name) => held(name),
    });
    let roots = match &tls.validation {
        Some(ValidationSource::Inline(secret)) => Some(&**secret),
        Some(ValidationSource::Sds(name)) => held(name),
        _ => None,
    };
    let mut one = serde_json::Map::new();
    if let Some(Secret::TrustedCa(pem)) = roots {
        one.insert("ca_cert".to_owned(), details(pem));
    }
    let chains = certificates.filter_map(|secret| match secret {
        Secret::Certificate { chain, .. } => Some(details(chain)),
        Secret::TrustedCa(_) => None,
    });
    let chains: Vec<Value> = chains.filter_map(|chain| chain.as_array().cloned()).flatten().collect();
    if !chains.is_empty() {
        one.insert("cert_chain".to_owned(), chains.into());
    }
    if one.is_empty() { Value::Null } else { one.into() }
}

fn details(pem: &[u8]) -> Value {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    certificates.filter_map(|certificate| detail(&certificate)).collect()
}

fn detail(der: &[u8]) -> Option<Value> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    let ends = time(validity.not_after.timestamp());
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(json!({"dns": name})),
        GeneralName::URI(uri) => Some(json!({"uri": uri})),
        GeneralName::IPAddress([a, b, c, d]) => Some(json!({"ip_address": format!("{a}.{b}.{c}.{d}")})),
        _ => None,
    };
    Some(json!({
        "serial_number": hex::encode(certificate.raw_serial()),
        "subject_alt_names": names.filter_map(name).collect::<Vec<_>>(),
        "days_until_expiration": days_until(ends),
        "valid_from": timestamp(time(validity.not_before.timestamp())),
        "expiration_time": timestamp(ends),
    }))
}

/// Numbers of 64 bits are text in protobuf's JSON.
fn days_until(moment: SystemTime) -> String {
    let left = moment.duration_since(SystemTime::now()).unwrap_or_default();
    (left.as_secs() / 86_400).to_string()
}
