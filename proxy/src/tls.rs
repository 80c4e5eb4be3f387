//! TLS settings of listeners and clusters as rustls wants them. What names the mesh's own identity (`default`, `ROOTCA`)
//! reads it anew at each handshake, so a rotation needs nothing rebuilt.

mod check;
mod files;

pub use check::{check_cluster, check_listener, check_secret};

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{
    CertificateSource, CommonTls, DownstreamTls, Secret, Snapshot, StringMatch, TlsVersion, UpstreamTls,
    ValidationSource,
};
use crate::identity::Identity;
use crate::identity::tls::{Allowed, ClientAuth, TlsOptions, client_config, server_config};

/// What TLS needs besides the resource itself.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// `None` for a proxy that is not in the mesh.
    pub identity: Option<Identity>,
}

/// Why a TLS setting cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the secret {0} has not come")]
    NoSecret(String),
    #[error("this proxy has no mesh identity, which the secret \"default\" names")]
    NoIdentity,
    #[error("{0} needs a certificate, and none is configured")]
    NoCertificate(&'static str),
    #[error("mixing the mesh identity with {0} is not supported")]
    Mixed(&'static str),
    #[error("the certificate or key cannot be used: {0}")]
    Unusable(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// Where certificates come from.
enum Origin {
    Mesh(Identity),
    Files { certificate: Option<Arc<Secret>>, roots: Option<Arc<RootCertStore>> },
}

impl TlsSettings {
    /// For a filter chain.
    pub fn server(&self, tls: &DownstreamTls, snapshot: &Snapshot) -> Result<Arc<ServerConfig>, TlsError> {
        let options = options(&tls.common);
        let config = match self.origin(&tls.common, snapshot)? {
            Origin::Mesh(identity) => {
                let allowed = allowed(&tls.common.san_matchers);
                let clients = match (&tls.common.validation, tls.require_client_certificate) {
                    (None, _) => ClientAuth::None,
                    (Some(_), true) => ClientAuth::Required(allowed),
                    (Some(_), false) => ClientAuth::Optional(allowed),
                };
                server_config(identity.watch(), clients, &options)?
            }
            Origin::Files { certificate, roots } => {
                let certificate = certificate.ok_or(TlsError::NoCertificate("a listener"))?;
                files::server(&certificate, roots, tls, &options)?
            }
        };
        Ok(Arc::new(config))
    }

    /// For the endpoints of a cluster.
    pub fn client(&self, tls: &UpstreamTls, snapshot: &Snapshot) -> Result<Arc<ClientConfig>, TlsError> {
        let options = options(&tls.common);
        let config = match self.origin(&tls.common, snapshot)? {
            Origin::Mesh(identity) => client_config(identity.watch(), allowed(&tls.common.san_matchers), &options)?,
            Origin::Files { certificate, roots } => files::client(certificate.as_deref(), roots, tls, &options)?,
        };
        Ok(Arc::new(config))
    }

    fn origin(&self, tls: &CommonTls, snapshot: &Snapshot) -> Result<Origin, TlsError> {
        // A secret that is given has precedence over the agent's of the same name.
        let in_mesh = self.identity.is_some();
        let own = |name: &str, of_agent| in_mesh && name == of_agent && !snapshot.secrets.contains_key(name);
        let own_certificate = matches!(&tls.certificate, Some(CertificateSource::Sds(name)) if own(name, "default"));
        let own_roots = matches!(&tls.validation, Some(ValidationSource::Sds(name)) if own(name, "ROOTCA"));
        if own_certificate && (own_roots || tls.validation.is_none()) {
            return Ok(Origin::Mesh(self.identity.clone().ok_or(TlsError::NoIdentity)?));
        }
        if own_certificate || own_roots {
            return Err(TlsError::Mixed("other certificates"));
        }
        let certificate = match &tls.certificate {
            None => None,
            Some(CertificateSource::Inline(secret)) => Some(Arc::clone(secret)),
            Some(CertificateSource::Sds(name)) => Some(secret(snapshot, name)?),
        };
        let roots = match &tls.validation {
            None => None,
            Some(ValidationSource::Inline(secret)) => Some(files::roots(secret)?),
            Some(ValidationSource::Sds(name)) => Some(files::roots(&*secret(snapshot, name)?)?),
        };
        Ok(Origin::Files { certificate, roots })
    }
}

fn secret(snapshot: &Snapshot, name: &str) -> Result<Arc<Secret>, TlsError> {
    snapshot.secrets.get(name).cloned().ok_or_else(|| TlsError::NoSecret(name.to_owned()))
}

fn options(tls: &CommonTls) -> TlsOptions {
    let within = |version| tls.min_version <= version && version <= tls.max_version;
    let mut versions = Vec::new();
    if within(TlsVersion::V13) {
        versions.push(&rustls::version::TLS13);
    }
    if within(TlsVersion::V12) {
        versions.push(&rustls::version::TLS12);
    }
    let alpn = tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    TlsOptions { alpn, versions, ..TlsOptions::default() }
}

/// The identities that matchers let in; none let in all of the trust domain.
fn allowed(matchers: &[StringMatch]) -> Allowed {
    if matchers.is_empty() {
        return Allowed::Any;
    }
    let exact = |matcher: &StringMatch| match matcher {
        StringMatch::Exact { text, ignore_case: false } => text.parse().ok(),
        _ => None,
    };
    if let Some(ids) = matchers.iter().map(exact).collect::<Option<BTreeSet<_>>>() {
        return Allowed::Ids(ids);
    }
    let matchers = matchers.to_vec();
    Allowed::Matching(Arc::new(move |id| {
        let text = id.to_string();
        matchers.iter().any(|matcher| matcher.matches(text.as_bytes()))
    }))
}
