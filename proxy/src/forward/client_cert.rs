//! `x-forwarded-client-cert` (Envoy, `forward_client_cert_details` and `set_current_client_cert_details`): which
//! certificates a request came under, hop by hop.

use std::borrow::Cow;
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
        let _ = write!(out, ";Subject=\"{}\"", plain(&fact(CertificateFact::Subject).unwrap_or_default()));
    }
    if details.uri {
        match CertificateFact::UriSan.names(&tls.peer_certificates) {
            names if names.is_empty() => out.push_str(";URI="),
            names => list(&mut out, "URI", &names),
        }
    }
    if details.dns {
        list(&mut out, "DNS", &CertificateFact::DnsSan.names(&tls.peer_certificates));
    }
    out
}

/// Whoever had the certificate signed chose the names: none may pass for another field or element, so what has signs
/// of the header's own is quoted (Envoy's documentation of the header).
fn list(out: &mut String, key: &str, names: &[String]) {
    for name in names {
        let name = plain(name);
        let _ = if name.contains([',', ';', '"']) {
            write!(out, ";{key}=\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            write!(out, ";{key}={name}")
        };
    }
}

/// With what no header may hold written as `%XX`.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_ascii_control() {
            let _ = write!(out, "%{:02X}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The element for a client whose certificate has these names.
    fn of(names: Vec<rcgen::SanType>, common_name: &str) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let tls = TlsInfo { peer_certificates: vec![certificate.der().clone()], ..TlsInfo::default() };
        let details = ClientCertDetails { subject: true, uri: true, dns: true, ..ClientCertDetails::default() };
        let element = element(&tls, details);
        element.split_once(';').unwrap().1.to_owned()
    }

    fn uri(text: &str) -> rcgen::SanType {
        rcgen::SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn plain_names_are_told_as_they_are() {
        let dns = rcgen::SanType::DnsName("a.example".try_into().unwrap());
        let told = of(vec![uri("spiffe://td/ns/a/sa/b"), uri("urn:x"), dns], "client");
        assert_eq!(told, r#"Subject="CN=client";URI=spiffe://td/ns/a/sa/b;URI=urn:x;DNS=a.example"#);
        assert_eq!(of(vec![], "client"), r#"Subject="CN=client";URI="#);
    }

    /// CVE-2023-27493.
    #[test]
    fn no_name_passes_for_another_field_or_another_hop() {
        let told = of(vec![uri("spiffe://td/evil,URI=spiffe://td/admin")], "a\";URI=spiffe://td/admin;x=\"");
        assert_eq!(
            told,
            r#"Subject="CN=a\"\;URI=spiffe://td/admin\;x=\"";URI="spiffe://td/evil,URI=spiffe://td/admin""#
        );
        assert_eq!(of(vec![uri("spiffe://td/a;By=x")], "c"), r#"Subject="CN=c";URI="spiffe://td/a;By=x""#);
        assert_eq!(of(vec![uri("spiffe://td/a\"\\")], "c"), r#"Subject="CN=c";URI="spiffe://td/a\"\\""#);
        assert_eq!(of(vec![uri("spiffe://td/a\r\nx: y")], "c\n"), r#"Subject="CN=c%0A";URI=spiffe://td/a%0D%0Ax: y"#);
        // CVE-2025-66220: what holds a NUL is no name.
        assert_eq!(of(vec![uri("spiffe://td/a\0.evil")], "c"), r#"Subject="CN=c";URI="#);
    }
}
