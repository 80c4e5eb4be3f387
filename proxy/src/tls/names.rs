//! The names in a certificate, and whether they are among those that are asked for.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::{SanKind, SanMatch, StringMatch};

/// Subject alternative names by kind. One that holds a NUL is no name: what would be compared might end there
/// (CVE-2025-66220).
pub fn subject_alt_names(leaf: &CertificateDer<'_>) -> Vec<(SanKind, String)> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let all = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((SanKind::Dns, (*name).to_owned())),
        GeneralName::URI(name) => Some((SanKind::Uri, (*name).to_owned())),
        GeneralName::RFC822Name(name) => Some((SanKind::Email, (*name).to_owned())),
        GeneralName::IPAddress(bytes) => Some((SanKind::Ip, ip(bytes)?)),
        _ => None,
    });
    all.filter(|(_, name)| !name.contains('\0')).collect()
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| std::net::Ipv6Addr::from(sixteen).to_string())
}

/// The names that a server's certificate is shown for: of DNS, else its common name.
pub fn server_names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let names = subject_alt_names(leaf).into_iter();
    let names: Vec<_> = names.filter(|(kind, _)| *kind == SanKind::Dns).map(|(_, name)| name).collect();
    if !names.is_empty() {
        return names;
    }
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let common = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    common.map(str::to_owned).into_iter().collect()
}

/// Whether one of the certificate's names is asked for.
pub fn any_matches(matchers: &[SanMatch], leaf: &CertificateDer<'_>) -> bool {
    let names = subject_alt_names(leaf);
    matchers.iter().any(|wanted| {
        let mut of_kind = names.iter().filter(|(kind, _)| wanted.kind == SanKind::Any || wanted.kind == *kind);
        of_kind.any(|(kind, name)| match &wanted.matcher {
            StringMatch::Exact { text, .. } if *kind == SanKind::Dns => dns_matches(name, text),
            matcher => matcher.matches(name.as_bytes()),
        })
    })
}

/// Whether a certificate is for a host: a DNS name or an address.
pub fn is_for(leaf: &CertificateDer<'_>, host: &str) -> bool {
    subject_alt_names(leaf).iter().any(|(kind, name)| match kind {
        SanKind::Dns => dns_matches(name, host),
        SanKind::Ip => name == host,
        _ => false,
    })
}

/// Whether a certificate's name, which may begin with `*.` for one label, is for a DNS name (RFC 6125, 6.4).
pub fn dns_matches(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let (Some(suffix), Some((_, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else { return false };
    !rest.is_empty() && !name.starts_with('.') && suffix.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: Vec<rcgen::SanType>) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn exact(kind: SanKind, text: &str) -> SanMatch {
        SanMatch { kind, matcher: StringMatch::Exact { text: text.to_owned(), ignore_case: false } }
    }

    /// CVE-2020-15104.
    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(dns_matches("a.example", "A.example") && dns_matches("*.example", "a.example"));
        for name in ["b.a.example", "example", ".example", "xexample", "a.example2"] {
            assert!(!dns_matches("*.example", name), "{name}");
        }
    }

    #[test]
    fn names_match_in_their_own_kind() {
        use rcgen::SanType;
        let leaf = certificate(vec![
            SanType::DnsName("*.example".try_into().unwrap()),
            SanType::URI("spiffe://td/x".try_into().unwrap()),
            SanType::Rfc822Name("a@example".try_into().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ]);
        for (kind, text, matches) in [
            (SanKind::Dns, "a.example", true),
            (SanKind::Dns, "a.b.example", false),
            (SanKind::Uri, "spiffe://td/x", true),
            (SanKind::Dns, "spiffe://td/x", false),
            (SanKind::Any, "spiffe://td/x", true),
            (SanKind::Email, "a@example", true),
            (SanKind::Uri, "a@example", false),
            (SanKind::Ip, "2001:db8::1", true),
        ] {
            assert_eq!(any_matches(&[exact(kind, text)], &leaf), matches, "{kind:?} {text}");
        }
    }

    /// CVE-2025-66220, CVE-2026-47778.
    #[test]
    fn a_name_with_a_nul_matches_nothing() {
        let leaf = certificate(vec![rcgen::SanType::DnsName("a.example\0.evil".try_into().unwrap())]);
        let begins = SanMatch {
            kind: SanKind::Dns,
            matcher: StringMatch::Prefix { text: "a.example".to_owned(), ignore_case: false },
        };
        assert!(!any_matches(&[begins], &leaf));
        assert_eq!(subject_alt_names(&leaf), []);
    }
}
