//! Accepts TLS connections for tonic. Handshakes run side by side, each with a deadline, so that a slow or hostile
//! client holds up nobody; one that fails is logged and forgotten.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{DenyList, X509Svid};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::{PeerCertificates, ServerTls};

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes in flight; more clients wait in the listener's queue.
const MAX_HANDSHAKES: usize = 256;
/// How long a peer without a certificate may stay: it asks for one, and comes again with it.
const STRANGER: Duration = Duration::from_secs(30);
/// Calls of one connection at a time. A proxy has its xDS stream, membership, reports, trust and a signing.
const STREAMS: u32 = 100;
/// Bytes of the headers of a call (HPACK, RFC 9113 §6.5.2); a token is a few hundred.
const HEADERS: u32 = 8 << 10;
/// A peer that does not answer a ping is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after the system refused to accept, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection after its handshake. tonic puts its `PeerCertificates` into the extensions of each request.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    /// Ends when the peer is denied while it is connected, or, without a certificate, when its time is over.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A server for such connections. Peers need not have shown a certificate, so what one connection may hold is bounded.
pub fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADERS)
}

/// The connections of a listener. It stops accepting when the stream is dropped.
pub fn incoming(listener: TcpListener, tls: ServerTls) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(MAX_HANDSHAKES);
    tokio::spawn(accept(listener, tls, sender));
    ReceiverStream::new(receiver)
}

async fn accept(listener: TcpListener, tls: ServerTls, connections: mpsc::Sender<io::Result<Connection>>) {
    let slots = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = connections.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (connections, acceptor) = (connections.clone(), TlsAcceptor::from(tls.current()));
                let denied = tls.denied();
                tokio::spawn(async move {
                    if let Some(connection) = handshake(stream, acceptor, denied).await {
                        // If nobody takes it any more, the connection is closed by dropping it.
                        let _ = connections.send(Ok(connection)).await;
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control plane's port cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    denied: watch::Receiver<Arc<DenyList>>,
) -> Option<Connection> {
    let peer = stream.peer_addr().ok();
    // Small messages must not wait for company; a stream that refuses this is only slower.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(Connection::new(stream, denied)),
        Ok(Err(error)) => tracing::info!(?peer, %error, "a TLS handshake with the control plane failed"),
        Err(_) => tracing::info!(?peer, "a TLS handshake with the control plane took too long"),
    }
    None
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, denied: watch::Receiver<Arc<DenyList>>) -> Self {
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let svid = leaf.and_then(|leaf| X509Svid::parse(leaf).ok());
        let cut: Pin<Box<dyn Future<Output = ()> + Send>> = match svid {
            Some(svid) => Box::pin(until_denied(svid, denied)),
            None => Box::pin(tokio::time::sleep(STRANGER)),
        };
        Self { stream, cut: Some(cut) }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let cut = self.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready());
        if cut {
            self.cut = None;
        }
        cut
    }
}

/// Whoever is denied already when it connects is answered, and told so.
async fn until_denied(svid: X509Svid, mut denied: watch::Receiver<Arc<DenyList>>) {
    denied.borrow_and_update();
    while denied.changed().await.is_ok() {
        if denied.borrow_and_update().denies(&svid).is_some() {
            tracing::warn!(identity = %svid.id, serial = svid.serial, "a connection of a denied workload is cut");
            return;
        }
    }
    std::future::pending().await
}

impl Connected for Connection {
    type ConnectInfo = PeerCertificates;

    fn connect_info(&self) -> PeerCertificates {
        let (stream, session) = self.stream.get_ref();
        let chain = session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
        PeerCertificates { chain, address: stream.peer_addr().ok() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.poll_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
