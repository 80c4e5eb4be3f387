//! What other trust domains and verifiers of tokens read, over HTTPS and without a token: the trust domain's bundle
//! (SPIFFE Federation, section 5), and where tokens name their issuer, its keys (OpenID Connect Discovery).

use std::io;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use citadel::{ServerTls, SpiffeBundle};
use runtime::shutdown::Shutdown;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::serve::serve_on;
use crate::tls::{ApiTls, TlsListener};

/// Whom a reader of the bundle sees.
pub enum BundleTls {
    /// A server with a certificate of the web's authorities (profile `https_web`).
    Web(ApiTls),
    /// The control plane's own identity (profile `https_spiffe`).
    Spiffe(ServerTls),
}

#[derive(Clone)]
struct Told {
    bundle: SpiffeBundle,
    issuer: Option<Arc<str>>,
}

/// Serves until drained.
pub async fn serve_bundle(
    listener: TcpListener,
    tls: BundleTls,
    bundle: SpiffeBundle,
    issuer: Option<String>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let config = match tls {
        BundleTls::Web(tls) => tls.config(),
        BundleTls::Spiffe(tls) => Arc::new(own(tls).map_err(io::Error::other)?),
    };
    let service = router(Told { bundle, issuer: issuer.map(Into::into) });
    serve_on(TlsListener::with(listener, config), service, async move { shutdown.draining().await }).await
}

fn router(told: Told) -> Router {
    Router::new()
        .route("/", get(bundle))
        .route("/keys", get(keys))
        .route("/.well-known/openid-configuration", get(discovery))
        .with_state(told)
}

async fn bundle(Shared(told): Shared<Told>) -> Response {
    match told.bundle.document().await {
        Ok(document) => fresh(document),
        Err(error) => {
            tracing::warn!(%error, "the bundle cannot be told now");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn keys(Shared(told): Shared<Told>) -> Response {
    fresh(told.bundle.jwks())
}

/// The least that a verifier of tokens needs.
async fn discovery(Shared(told): Shared<Told>) -> Response {
    let Some(issuer) = &told.issuer else { return StatusCode::NOT_FOUND.into_response() };
    fresh(json!({
        "issuer": &**issuer,
        "jwks_uri": format!("{}/keys", issuer.trim_end_matches('/')),
        "authorization_endpoint": "",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

fn fresh(document: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-cache")], Json(document)).into_response()
}

fn own(tls: ServerTls) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Own(tls)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The control plane's certificate of the day.
struct Own(ServerTls);

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().cert_resolver.resolve(hello)
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}
