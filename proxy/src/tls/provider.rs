//! The cryptography of a context: the suites, groups and versions that it allows.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS, default_provider};

use crate::config::{CommonTls, TlsVersion};

/// In the order of the configuration, where it has one.
pub fn provider(tls: &CommonTls) -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    if let Some(wanted) = &tls.cipher_suites {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        let known = |wanted| ALL_CIPHER_SUITES.iter().find(|suite| suite.suite() == wanted).copied();
        provider.cipher_suites.extend(wanted.iter().filter_map(|wanted| known(*wanted)));
    }
    if let Some(wanted) = &tls.groups {
        let known = |wanted| ALL_KX_GROUPS.iter().find(|group| group.name() == wanted).copied();
        provider.kx_groups = wanted.iter().filter_map(|wanted| known(*wanted)).collect();
    }
    Arc::new(provider)
}

pub fn versions(tls: &CommonTls) -> Vec<&'static SupportedProtocolVersion> {
    let within = |version| tls.min_version <= version && version <= tls.max_version;
    let mut versions = Vec::new();
    if within(TlsVersion::V13) {
        versions.push(&rustls::version::TLS13);
    }
    if within(TlsVersion::V12) {
        versions.push(&rustls::version::TLS12);
    }
    versions
}

pub fn alpn(tls: &CommonTls) -> Vec<Vec<u8>> {
    tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect()
}
