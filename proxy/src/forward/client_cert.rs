//! `x-forwarded-client-cert` (Envoy, `forward_client_cert_details` and `set_current_client_cert_details`): which
//! certificates a request came under, hop by hop.

use std::fmt::Write as _;

use super::Connection;
use crate::access_log::{CertificateFact, TlsInfo};
use crate::config::{ClientCertDetails, ForwardClientCert};
use crate::http::message::RequestHead;

const XFCC: &str = "x-forwarded-client-cert";

pub fn forward(connection: &Connection, head: &mut RequestHead) {
    let kind = connection.manager.forward_client_cert;
    if kind == ForwardClientCert::AlwaysForwardOnly {
        return;
    }
    let tls = connection.downstream.info.tls.as_ref().filter(|tls| !tls.peer_certificates.is_empty());
    let Some(tls) = tls.filter(|_| kind != ForwardClientCert::Sanitize) else {
        head.headers.remove(XFCC);
        return;
    };
    let element = || connection.client_cert.get_or_init(|| element(tls, connection.manager.client_cert_details));
    match kind {
        ForwardClientCert::AppendForward => {
            let all = match head.headers.joined(XFCC) {
                Some(list) => format!("{},{}", String::from_utf8_lossy(&list), element()),
                None => element().clone(),
            };
            head.headers.set(XFCC, all);
        }
        ForwardClientCert::SanitizeSet => head.headers.set(XFCC, element()),
        _ => {}
    }
}

/// What is said of the client of this connection. It stays the same for as long as the connection lasts.
fn element(tls: &TlsInfo, details: ClientCertDetails) -> String {
    let fact = |fact: CertificateFact| fact.of(&tls.peer_certificates);
    let mut out = String::new();
    for own in tls.local_uri_sans.iter().take(1) {
        let _ = write!(out, "By={own};");
    }
    let _ = write!(out, "Hash={}", fact(CertificateFact::Fingerprint256).unwrap_or_default());
    if details.cert
        && let Some(pem) = fact(CertificateFact::Pem)
    {
        let _ = write!(out, ";Cert=\"{pem}\"");
    }
    if details.chain
        && let Some(pem) = fact(CertificateFact::ChainPem)
    {
        let _ = write!(out, ";Chain=\"{pem}\"");
    }
    if details.subject {
        let _ = write!(out, ";Subject=\"{}\"", fact(CertificateFact::Subject).unwrap_or_default());
    }
    if details.uri {
        match fact(CertificateFact::UriSan) {
            Some(names) => list(&mut out, "URI", &names),
            None => out.push_str(";URI="),
        }
    }
    if details.dns
        && let Some(names) = fact(CertificateFact::DnsSan)
    {
        list(&mut out, "DNS", &names);
    }
    out
}

fn list(out: &mut String, key: &str, names: &str) {
    for name in names.split(',') {
        let _ = write!(out, ";{key}={name}");
    }
}
