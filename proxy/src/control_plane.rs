//! The connection to the control plane: gRPC over mutual TLS with the live identity, so that each new connection
//! presents the certificate of the day.

pub mod cluster;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::{SpiffeError, SpiffeId, TrustDomain};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::identity::Identity;
use crate::identity::tls::{Allowed, TlsOptions, client_config};

/// A connection on which nothing comes back for this long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// The identity that the control plane proves.
pub fn control_plane_id(trust_domain: &TrustDomain) -> Result<SpiffeId, SpiffeError> {
    trust_domain.workload("istio-system", "control-plane")
}

/// A channel that connects when it is first used, and again whenever it has to. `address` is `host:port`, perhaps
/// with `https://` before it.
pub fn channel(address: &str, identity: &Identity, server: SpiffeId) -> Channel {
    let address: Arc<str> = address.trim_start_matches("https://").trim_end_matches('/').into();
    let identity = identity.clone();
    let connector = tower::service_fn(move |_| {
        let (address, identity, server) = (Arc::clone(&address), identity.clone(), server.clone());
        async move { connect(&address, &identity, server).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://control-plane")
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

async fn connect(
    address: &str,
    identity: &Identity,
    server: SpiffeId,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let options = TlsOptions { alpn: vec![b"h2".to_vec()], ..TlsOptions::default() };
    let config = client_config(identity.watch(), Allowed::Ids(BTreeSet::from([server])), &options);
    let config = config.map_err(io::Error::other)?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    // The certificate is judged by its SPIFFE ID; the name only fills the handshake.
    let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}
