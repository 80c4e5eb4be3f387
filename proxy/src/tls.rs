//! TLS settings of listeners and clusters as rustls wants them. What names the mesh's own identity (`default`, `ROOTCA`)
//! reads it anew at each handshake, so a rotation needs nothing rebuilt.

mod check;
mod files;
mod known;
pub mod names;
mod peers;
pub mod pem;
mod provider;
mod resolver;
mod roots;
mod shared;
#[cfg(test)]
mod tests;
mod tickets;

pub use known::{Known, Shown};
pub use peers::{PeerJudge, Rejected, all_may_sign};

pub use check::{check_cluster, check_listener, check_secret};

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{
    CertificateSource, CommonTls, DownstreamTls, PeerRules, SanMatch, Secret, Snapshot, StringMatch, UpstreamTls,
    ValidationSource,
};
use crate::identity::Identity;
use crate::identity::tls::{Allowed, ClientAuth, TlsOptions, client_config, server_config};
use shared::Shared;

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
    Given { certificates: Vec<Arc<Secret>>, roots: Roots },
}

enum Roots {
    Of(Arc<Secret>),
    System,
    None,
}

impl Roots {
    fn store(&self) -> Result<Option<Arc<RootCertStore>>, TlsError> {
        match self {
            Self::Of(secret) => roots::roots(secret).map(Some),
            Self::System => roots::system().map(Some),
            Self::None => Ok(None),
        }
    }
}

static SERVERS: LazyLock<Shared<DownstreamTls, ServerConfig>> = LazyLock::new(Shared::new);
static CLIENTS: LazyLock<Shared<UpstreamTls, ClientConfig>> = LazyLock::new(Shared::new);

impl TlsSettings {
    /// For a filter chain.
    pub fn server(&self, tls: &Arc<DownstreamTls>, snapshot: &Snapshot) -> Result<Arc<ServerConfig>, TlsError> {
        match self.origin(&tls.common, snapshot)? {
            Origin::Mesh(identity) => {
                let allowed = allowed(&tls.common.peers.names);
                let clients = match (&tls.common.validation, tls.require_client_certificate) {
                    (None, _) => ClientAuth::None,
                    (Some(_), true) => ClientAuth::Required(allowed),
                    (Some(_), false) => ClientAuth::Optional(allowed),
                };
                Ok(Arc::new(server_config(identity.watch(), clients, &options(&tls.common))?))
            }
            Origin::Given { certificates, .. } if certificates.is_empty() => Err(TlsError::NoCertificate("a listener")),
            Origin::Given { certificates, roots } => {
                SERVERS.get(tls, secrets(&certificates, &roots), || files::server(&certificates, roots.store()?, tls))
            }
        }
    }

    /// For the endpoints of a cluster.
    pub fn client(&self, tls: &Arc<UpstreamTls>, snapshot: &Snapshot) -> Result<Arc<ClientConfig>, TlsError> {
        match self.origin(&tls.common, snapshot)? {
            Origin::Mesh(identity) => {
                let allowed = allowed(&tls.common.peers.names);
                Ok(Arc::new(client_config(identity.watch(), allowed, &options(&tls.common))?))
            }
            Origin::Given { certificates, roots } => CLIENTS.get(tls, secrets(&certificates, &roots), || {
                files::client(certificates.first().map(|secret| &**secret), roots.store()?, tls)
            }),
        }
    }

    fn origin(&self, tls: &CommonTls, snapshot: &Snapshot) -> Result<Origin, TlsError> {
        // A secret that is given has precedence over the agent's of the same name.
        let in_mesh = self.identity.is_some();
        let own = |name: &String, of_agent| in_mesh && name == of_agent && !snapshot.secrets.contains_key(name);
        let own_certificate = tls.certificate_names().any(|name| own(name, "default"));
        let own_roots = tls.roots_name().is_some_and(|name| own(name, "ROOTCA"));
        if own_certificate && tls.certificates.len() == 1 && (own_roots || tls.validation.is_none()) {
            if tls.peers != (PeerRules { names: tls.peers.names.clone(), ..PeerRules::default() }) {
                return Err(TlsError::Mixed("rules besides names"));
            }
            return Ok(Origin::Mesh(self.identity.clone().ok_or(TlsError::NoIdentity)?));
        }
        if own_certificate || own_roots {
            return Err(TlsError::Mixed("other certificates"));
        }
        let certificate = |source: &CertificateSource| match source {
            CertificateSource::Inline(secret) => Ok(Arc::clone(secret)),
            CertificateSource::Sds(name) => secret(snapshot, name),
        };
        let roots = match &tls.validation {
            None | Some(ValidationSource::NoRoots) => Roots::None,
            Some(ValidationSource::System) => Roots::System,
            Some(ValidationSource::Inline(secret)) => Roots::Of(Arc::clone(secret)),
            Some(ValidationSource::Sds(name)) => Roots::Of(secret(snapshot, name)?),
        };
        let certificates = tls.certificates.iter().map(certificate).collect::<Result<_, _>>()?;
        Ok(Origin::Given { certificates, roots })
    }
}

fn secret(snapshot: &Snapshot, name: &str) -> Result<Arc<Secret>, TlsError> {
    snapshot.secrets.get(name).cloned().ok_or_else(|| TlsError::NoSecret(name.to_owned()))
}

fn secrets(certificates: &[Arc<Secret>], roots: &Roots) -> Vec<Arc<Secret>> {
    let mut all = certificates.to_vec();
    if let Roots::Of(secret) = roots {
        all.push(Arc::clone(secret));
    }
    all
}

fn options(tls: &CommonTls) -> TlsOptions {
    TlsOptions {
        alpn: provider::alpn(tls),
        versions: provider::versions(tls),
        provider: provider::provider(tls),
        ..TlsOptions::default()
    }
}

/// The identities that matchers let in; none let in all of the trust domain.
fn allowed(matchers: &[SanMatch]) -> Allowed {
    if matchers.is_empty() {
        return Allowed::Any;
    }
    let exact = |matcher: &SanMatch| match &matcher.matcher {
        StringMatch::Exact { text, ignore_case: false } => text.parse().ok(),
        _ => None,
    };
    if let Some(ids) = matchers.iter().map(exact).collect::<Option<BTreeSet<_>>>() {
        return Allowed::Ids(ids);
    }
    let matchers = matchers.to_vec();
    Allowed::Matching(Arc::new(move |id| {
        let text = id.to_string();
        matchers.iter().any(|wanted| wanted.matcher.matches(text.as_bytes()))
    }))
}
