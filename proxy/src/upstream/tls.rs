//! The TLS of an endpoint, as connections to it use it.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::config::{CertificateSource, Cluster, Snapshot, UpstreamTls};
use crate::tls::TlsSettings;

pub struct ClientTls {
    pub config: Arc<ClientConfig>,
    pub sni: String,
    /// Whether the endpoint's own name is asked for, where it has one.
    pub auto_host_sni: bool,
    /// Whether this side presents the mesh identity.
    pub mutual: bool,
}

impl ClientTls {
    /// Settings that cannot be put in force refuse every connection rather than go without TLS.
    pub fn build(tls: &Arc<UpstreamTls>, settings: &TlsSettings, snapshot: &Snapshot) -> Option<Arc<Self>> {
        let mutual = matches!(tls.common.certificates.as_slice(), [CertificateSource::Sds(_)]);
        let config = settings.client(tls, snapshot).unwrap_or_else(|error| {
            tracing::warn!(sni = tls.sni, %error, "no TLS to this upstream; its connections will fail");
            refuse_all()
        });
        Some(Arc::new(Self { config, sni: tls.sni.clone(), auto_host_sni: tls.auto_host_sni, mutual }))
    }
}

/// Whether the secrets that a cluster names are the same in two snapshots.
pub fn same_secrets(cluster: &Cluster, one: &Snapshot, other: &Snapshot) -> bool {
    let matched = cluster.transport_socket_matches.iter().filter_map(|matched| matched.tls.as_ref());
    cluster
        .tls
        .iter()
        .chain(matched)
        .all(|tls| tls.common.secret_names().all(|name| one.secrets.get(name) == other.secrets.get(name)))
}

/// Trusts nobody.
fn refuse_all() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.expect("the provider has suites for TLS 1.3");
    Arc::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
