//! Opens a connection to a host: TCP or a Unix socket, then TLS where the host wants it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::carried::{Carried, introduce};
use super::tls::ClientTls;
use crate::config::{Cluster, EndpointAddress};
use crate::http::Via;
use crate::identity::live;
use crate::io::{Io, Rewind};
use crate::listener::keepalive_of;
use crate::stats::ClusterStats;

/// Why no connection could be opened. All are the upstream's or the network's doing, and may be tried elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("connecting failed: {0}")]
    Refused(io::Error),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("{0} has no address")]
    Unresolved(String),
}

impl ConnectError {
    /// The same for another request that waited for the connection.
    pub fn again(&self) -> Self {
        let same = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::Refused(error) => Self::Refused(same(error)),
            Self::Timeout(limit) => Self::Timeout(*limit),
            Self::Tls(error) => Self::Tls(same(error)),
            Self::Unresolved(name) => Self::Unresolved(name.clone()),
        }
    }
}

impl Connected {
    /// What logs say of it.
    pub fn via(&self, stats: Option<&Arc<ClusterStats>>) -> Rc<Via> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let counted = stats.cloned().map(Counted::new);
        Rc::new(Via { id, local_address: self.local, _counted: counted })
    }
}

/// Counts a connection for as long as it is known.
#[derive(Debug)]
pub struct Counted(Arc<ClusterStats>);

impl Counted {
    fn new(stats: Arc<ClusterStats>) -> Self {
        stats.cx_total.add(1);
        stats.cx_active.up();
        Self(stats)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.cx_active.down();
        self.0.cx_destroy.add(1);
    }
}

/// A fresh connection and what was learnt while it was opened.
pub struct Connected {
    pub io: Io,
    pub local: Option<SocketAddr>,
    /// Whether the upstream chose HTTP/2 by ALPN.
    pub http2: bool,
}

/// How a host wants to be connected to.
pub struct Target<'a> {
    pub address: &'a EndpointAddress,
    pub tls: Option<&'a Arc<ClientTls>>,
    /// Asked for by SNI; empty is none.
    pub server_name: &'a str,
    pub carried: Option<&'a Carried>,
}

impl<'a> Target<'a> {
    /// A host as its TLS describes it.
    pub fn plain(address: &'a EndpointAddress, tls: Option<&'a Arc<ClientTls>>) -> Self {
        Self { address, tls, server_name: tls.map_or("", |tls| &tls.sni), carried: None }
    }
}

pub async fn connect(target: Target<'_>, cluster: &Cluster) -> Result<Connected, ConnectError> {
    match tokio::time::timeout(cluster.connect_timeout, open(target, cluster)).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectError::Timeout(cluster.connect_timeout)),
    }
}

async fn open(target: Target<'_>, cluster: &Cluster) -> Result<Connected, ConnectError> {
    let mut tcp = match target.address {
        EndpointAddress::Socket(address) => tcp(*address, cluster).await.map_err(ConnectError::Refused)?,
        EndpointAddress::Name(name, _) => return Err(ConnectError::Unresolved(name.clone())),
        EndpointAddress::Unix(path) => return unix(path).await,
    };
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr().ok();
    if let Some(settings) = &cluster.proxy_protocol {
        introduce(&mut tcp, settings, target.carried).await.map_err(ConnectError::Refused)?;
    }
    let Some(tls) = target.tls else { return Ok(Connected { io: Io::Tcp(tcp), local, http2: false }) };
    let name = server_name(target.server_name, target.address);
    let mut stream = TlsConnector::from(Arc::clone(&tls.config))
        .connect(name, Rewind { prefix: Bytes::new(), live: None, tcp })
        .await
        .map_err(ConnectError::Tls)?;
    let (rewind, session) = stream.get_mut();
    rewind.live = live::enter(&rewind.tcp, session.peer_certificates());
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected { io: Io::Tls(Box::new(stream.into())), local, http2 })
}

async fn tcp(address: SocketAddr, cluster: &Cluster) -> io::Result<TcpStream> {
    if cluster.tcp_keepalive.is_none() && cluster.source_address.is_none() {
        return TcpStream::connect(address).await;
    }
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // A source of the other family is for other hosts.
    if let Some(source) = cluster.source_address.filter(|source| source.is_ipv6() == address.is_ipv6()) {
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
    }
    if let Some(keepalive) = &cluster.tcp_keepalive {
        socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive_of(keepalive))?;
    }
    socket.connect(address).await
}

async fn unix(path: &str) -> Result<Connected, ConnectError> {
    // An abstract name is a path that begins with NUL.
    let path = path.strip_prefix('@').map_or_else(|| path.to_owned(), |name| format!("\0{name}"));
    let stream = UnixStream::connect(path).await.map_err(ConnectError::Refused)?;
    Ok(Connected { io: Io::Unix(stream), local: None, http2: false })
}

/// The name asked for by SNI; the address itself (which sends none) where there is no valid name.
fn server_name(sni: &str, address: &EndpointAddress) -> ServerName<'static> {
    if let Ok(name) = ServerName::try_from(sni.to_owned())
        && !sni.is_empty()
    {
        return name;
    }
    let ip = match address {
        EndpointAddress::Socket(address) => address.ip(),
        _ => std::net::Ipv4Addr::LOCALHOST.into(),
    };
    ServerName::IpAddress(ip.into())
}
