//! Whether the certificates and roots that a resource brings can be used, before it is put in force: a pair of files of
//! which only one was replaced yet must not take the place of what works.

use super::{TlsError, TlsSettings, files, roots};
use crate::config::{CertificateSource, Cluster, CommonTls, Listener, Secret, Snapshot, ValidationSource};

pub fn check_secret(secret: &Secret) -> Result<(), TlsError> {
    match secret {
        Secret::Certificate { .. } => files::usable(secret),
        Secret::TrustedCa(_) => roots::roots(secret).map(drop),
    }
}

pub fn check_listener(listener: &Listener) -> Result<(), TlsError> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    let mut all = chains.filter_map(|chain| chain.tls.as_ref());
    all.try_for_each(|tls| check(&tls.common, || SETTINGS.server(tls, &Snapshot::default()).map(drop)))
}

pub fn check_cluster(cluster: &Cluster) -> Result<(), TlsError> {
    let matched = cluster.transport_socket_matches.iter().filter_map(|matched| matched.tls.as_ref());
    let mut all = cluster.tls.iter().chain(matched);
    all.try_for_each(|tls| check(&tls.common, || SETTINGS.client(tls, &Snapshot::default()).map(drop)))
}

const SETTINGS: TlsSettings = TlsSettings { identity: None };

/// Secrets that come by name are judged when they come.
fn check(tls: &CommonTls, build: impl Fn() -> Result<(), TlsError>) -> Result<(), TlsError> {
    if tls.secret_names().next().is_none() {
        return build();
    }
    for certificate in &tls.certificates {
        if let CertificateSource::Inline(secret) = certificate {
            check_secret(secret)?;
        }
    }
    match &tls.validation {
        Some(ValidationSource::Inline(secret)) => check_secret(secret),
        _ => Ok(()),
    }
}
