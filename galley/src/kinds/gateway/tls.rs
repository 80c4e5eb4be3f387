//! The `tls` block of a gateway's server.

use super::{CertificateFiles, ServerPort, ServerTls, ServerTlsMode, TlsVersion};
use crate::diagnostic::code;
use crate::reader::Object;

const MODES: [(&str, ServerTlsMode); 6] = [
    ("PASSTHROUGH", ServerTlsMode::Passthrough),
    ("SIMPLE", ServerTlsMode::Simple),
    ("MUTUAL", ServerTlsMode::Mutual),
    ("AUTO_PASSTHROUGH", ServerTlsMode::AutoPassthrough),
    ("ISTIO_MUTUAL", ServerTlsMode::IstioMutual),
    ("OPTIONAL_MUTUAL", ServerTlsMode::OptionalMutual),
];

const VERSIONS: [(&str, Option<TlsVersion>); 5] = [
    ("TLS_AUTO", None),
    ("TLSV1_0", Some(TlsVersion::V1_0)),
    ("TLSV1_1", Some(TlsVersion::V1_1)),
    ("TLSV1_2", Some(TlsVersion::V1_2)),
    ("TLSV1_3", Some(TlsVersion::V1_3)),
];

/// Suites of TLS 1.2 that Envoy knows; those of TLS 1.3 cannot be chosen.
const SUITES: [&str; 12] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
];

const MATERIAL: [&str; 8] = [
    "credentialName",
    "credentialNames",
    "tlsCertificates",
    "serverCertificate",
    "privateKey",
    "caCertificates",
    "caCertCredentialName",
    "caCrl",
];

pub(super) fn read(o: &Object<'_>, port: Option<&ServerPort>) -> ServerTls {
    let mode = o.choice("mode", &MODES).unwrap_or_default();
    let tls = ServerTls {
        https_redirect: o.flag("httpsRedirect"),
        mode,
        credential_names: credential_names(o),
        certificates: certificates(o),
        ca_certificates: o.text("caCertificates"),
        ca_credential_name: o.text("caCertCredentialName"),
        ca_crl: o.text("caCrl"),
        subject_alt_names: o.texts("subjectAltNames"),
        verify_certificate_spki: o.texts("verifyCertificateSpki"),
        verify_certificate_hash: o.texts("verifyCertificateHash"),
        min_version: o.choice("minProtocolVersion", &VERSIONS).flatten(),
        max_version: o.choice("maxProtocolVersion", &VERSIONS).flatten(),
        cipher_suites: cipher_suites(o),
        insecure_skip_verify: o.flag_if_set("insecureSkipVerify"),
    };
    if let (Some(low), Some(high)) = (tls.min_version, tls.max_version)
        && low > high
    {
        o.error_at("maxProtocolVersion", "must not be below minProtocolVersion");
    }
    let plain = |port: &&ServerPort| port.protocol.is_http();
    match port.filter(plain) {
        Some(port) => check_redirect_only(o, port),
        None => check_material(o, &tls),
    }
    tls
}

fn credential_names(o: &Object<'_>) -> Vec<String> {
    o.at_most_one(&["credentialName", "credentialNames", "tlsCertificates", "serverCertificate"]);
    let one = o.read("credentialName", |place| place.text()).filter(|name| !name.is_empty());
    let many = o.texts("credentialNames");
    if many.len() > 2 {
        o.error_at("credentialNames", "at most two: one RSA and one ECDSA");
    }
    one.into_iter().chain(many).collect()
}

fn certificates(o: &Object<'_>) -> Vec<CertificateFiles> {
    let single = CertificateFiles {
        certificate: o.text("serverCertificate"),
        private_key: o.text("privateKey"),
        ca_certificates: String::new(),
    };
    let many = o.each("tlsCertificates", |place| {
        place.object(|o| CertificateFiles {
            certificate: o.required_text("serverCertificate"),
            private_key: o.required_text("privateKey"),
            ca_certificates: o.text("caCertificates"),
        })
    });
    if many.len() > 2 {
        o.error_at("tlsCertificates", "at most two: one RSA and one ECDSA");
    }
    let given = !single.certificate.is_empty() || !single.private_key.is_empty();
    given.then_some(single).into_iter().chain(many).collect()
}

fn cipher_suites(o: &Object<'_>) -> Vec<String> {
    let mut suites: Vec<String> = Vec::new();
    o.each("cipherSuites", |place| {
        let suite = place.text()?;
        if !SUITES.contains(&suite.as_str()) {
            place.warn(code::SCHEMA_WARNING, format!("{suite:?} is no cipher suite that can be chosen; ignored"));
        } else if suites.contains(&suite) {
            place.warn(code::SCHEMA_WARNING, format!("{suite:?} is there twice"));
        } else {
            suites.push(suite);
        }
        Some(())
    });
    suites
}

/// On a plain HTTP port nothing but the redirect makes sense.
fn check_redirect_only(o: &Object<'_>, port: &ServerPort) {
    for field in MATERIAL.iter().chain(&["mode"]).filter(|field| o.has(field)) {
        let protocol = port.protocol.as_str();
        o.error_at(
            field,
            format!("a port of protocol {protocol} takes only httpsRedirect; use protocol HTTPS for TLS"),
        );
    }
}

fn check_material(o: &Object<'_>, tls: &ServerTls) {
    use ServerTlsMode::{AutoPassthrough, IstioMutual, Mutual, OptionalMutual, Passthrough, Simple};
    let has_credential = !tls.credential_names.is_empty();
    match tls.mode {
        IstioMutual => {
            for field in MATERIAL.iter().filter(|field| o.has(field)) {
                o.error_at(field, "not allowed with ISTIO_MUTUAL: the gateway's own certificate is used");
            }
        }
        Passthrough | AutoPassthrough => {
            for field in MATERIAL.iter().filter(|field| o.has(field)) {
                o.warn_at(code::SCHEMA_WARNING, field, "has no effect: TLS is passed through");
            }
        }
        Simple | Mutual | OptionalMutual if !has_credential => check_files(o, tls),
        _ => {}
    }
    let verifies = matches!(tls.mode, Mutual | OptionalMutual);
    if verifies && !has_credential && !o.has("caCertificates") && !o.has("caCertCredentialName") {
        o.place().error("caCertificates (or a credential) is required to verify clients");
    }
    if o.has("caCrl") && (tls.mode == Simple || has_credential) {
        o.error_at("caCrl", "only with MUTUAL and certificates from files");
    }
}

fn check_files(o: &Object<'_>, tls: &ServerTls) {
    match tls.certificates.first() {
        None => o.place().error("credentialName, or serverCertificate and privateKey, is required"),
        Some(files) if files.certificate.is_empty() => o.place().error("serverCertificate is required"),
        Some(files) if files.private_key.is_empty() => o.place().error("privateKey is required"),
        Some(_) => {}
    }
}
