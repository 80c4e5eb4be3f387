//! Tokens that the control plane signs for workloads, and the port where others read what verifies them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use citadel::{
    Authority as _, CurrentCertificate, Decisions, Denials, JwtAuthority, JwtService, Members, SelfSigned, ServerTls,
    SpiffeBundle,
};
use clap::Args;
use hyper::Uri;
use runtime::Clock;
use runtime::shutdown::Shutdown;
use store::Store;
use tokio::net::TcpListener;
use web::{ApiTls, BundleTls};

use crate::command::data_dir::DataDir;
use ::api::SpiffeId;
use ::api::weft::v1::jwt_server::JwtServer;

#[derive(Debug, Args)]
pub struct BundleOptions {
    /// Where other trust domains read this one's bundle (SPIFFE Federation), and verifiers of JWT-SVIDs its keys: HTTPS,
    /// and no token is asked [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    listen_bundle: Option<SocketAddr>,
    /// What that port shows: a certificate chain in PEM (profile https_web) [default: the control plane's own SPIFFE
    /// identity (profile https_spiffe)]
    #[arg(long, value_name = "FILE", requires = "bundle_key", requires = "listen_bundle")]
    bundle_cert: Option<PathBuf>,
    /// The key of --bundle-cert in PEM
    #[arg(long, value_name = "FILE", requires = "bundle_cert")]
    bundle_key: Option<PathBuf>,
    /// Who JWT-SVIDs say that issued them: the URL by which verifiers reach --listen-bundle [default: they do not say]
    #[arg(long, value_name = "https://HOST", value_parser = issuer)]
    jwt_issuer: Option<String>,
}

/// The port, bound and not served yet.
pub struct Endpoint {
    listener: TcpListener,
    tls: BundleTls,
}

/// What signs tokens, and tells of the keys.
pub struct Jwt {
    authority: Arc<JwtAuthority>,
    pub bundle: SpiffeBundle,
}

impl Jwt {
    pub async fn open(
        options: &BundleOptions,
        data: &DataDir,
        roots: &SelfSigned,
        own: &SpiffeId,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let issuer = options.jwt_issuer.clone();
        let directory = data.authority();
        let authority = JwtAuthority::open(&directory, own.trust_domain(), issuer, store.clone(), clock).await?;
        let authority = Arc::new(authority);
        tokio::spawn(authority.clone().keep());
        let bundle = SpiffeBundle::new(roots.trust_bundle(), authority.told(), store);
        Ok(Self { authority, bundle })
    }

    pub fn service(
        &self,
        attestor: CurrentCertificate,
        members: Members,
        denials: &Denials,
        own: SpiffeId,
        decisions: Decisions,
    ) -> JwtServer<JwtService> {
        let authority = self.authority.clone();
        JwtService::new(authority, attestor, members, denials.watch(), own, decisions).into_service()
    }

    /// Serves the port, if there is one, until drained.
    pub async fn serve(self, endpoint: Option<Endpoint>, shutdown: Shutdown) -> std::io::Result<()> {
        match endpoint {
            Some(Endpoint { listener, tls }) => {
                let issuer = self.authority.issuer().map(str::to_owned);
                web::serve_bundle(listener, tls, self.bundle, issuer, shutdown).await
            }
            None => {
                shutdown.draining().await;
                Ok(())
            }
        }
    }
}

impl Endpoint {
    pub async fn bind(options: &BundleOptions, own: &ServerTls) -> anyhow::Result<Option<Self>> {
        let Some(address) = options.listen_bundle else { return Ok(None) };
        let tls = match (&options.bundle_cert, &options.bundle_key) {
            (Some(certificate), Some(key)) => BundleTls::Web(ApiTls::open(certificate, key)?),
            _ => BundleTls::Spiffe(own.clone()),
        };
        let listener = web::bind_any(address).await.context("give another --listen-bundle")?;
        tracing::info!(address = %listener.local_addr()?, "the trust domain's bundle is served");
        Ok(Some(Self { listener, tls }))
    }

    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

/// For clap: as OpenID Connect Discovery section 3 has it.
fn issuer(text: &str) -> Result<String, String> {
    let wrong = || "an issuer is a URL of the form https://HOST[:PORT][/PATH], without query and fragment".to_owned();
    // What parses it takes a fragment off.
    let url: Uri = text.parse().ok().filter(|_| !text.contains('#')).ok_or_else(wrong)?;
    let host = url.authority().is_some_and(|authority| {
        // Whose name is before the host is refused with it.
        let port = authority.as_str().strip_prefix(authority.host());
        !authority.host().is_empty() && port.is_some_and(|port| port.is_empty() || authority.port_u16().is_some())
    });
    let good = url.scheme_str() == Some("https") && host && url.query().is_none();
    if good { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_and_nothing_else() {
        assert_eq!(issuer("https://mesh.example:8443/").as_deref(), Ok("https://mesh.example:8443"));
        assert_eq!(issuer("https://[fd00::1]:8443/a/b").as_deref(), Ok("https://[fd00::1]:8443/a/b"));
        for wrong in [
            "http://mesh.example",
            "mesh.example",
            "https://",
            "https:///x",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a b",
            "https://a:99999",
            "https://a:b",
            "https://a:",
            "https://:8443",
            "https://[fd00::1",
        ] {
            assert!(issuer(wrong).is_err(), "{wrong}");
        }
    }
}
