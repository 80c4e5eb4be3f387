//! Accepts TLS connections for tonic, always: handshakes run side by side, each with a deadline, and whoever has its
//! share of them, or of connections, has no more. So a slow or hostile client holds up nobody; a handshake that fails is
//! logged and forgotten.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{DenyList, X509Svid};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::room::{Place, Room, TurnedAway};
use crate::{Capacity, Client, PeerCertificates, ServerTls};

/// For the whole handshake, and for the ClientHello alone, which a client sends as soon as it is connected.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
const HELLO_DEADLINE: Duration = Duration::from_secs(3);
/// Connections that wait until tonic takes them.
const TO_TAKE: usize = 256;
/// How long a peer without a certificate may stay: it asks for one, and comes again with it.
const STRANGER: Duration = Duration::from_secs(30);
/// For how long it makes no room for others of its address.
const ASKS: Duration = Duration::from_secs(5);
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

/// The connections of a listener, of which there are no more than there is room for. It stops accepting when the stream
/// is dropped.
pub fn incoming(
    listener: TcpListener,
    tls: ServerTls,
    rooms: Rooms,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(TO_TAKE);
    tokio::spawn(accept(listener, tls, rooms, sender));
    ReceiverStream::new(receiver)
}

/// What a port takes of connections in each of their states. Cloning shares.
#[derive(Clone)]
pub struct Rooms {
    handshakes: Room,
    strangers: Room,
    known: Room,
}

impl Rooms {
    /// Of the connections in each state.
    pub fn turned_away(&self) -> [(&'static str, TurnedAway); 3] {
        [("handshake", &self.handshakes), ("stranger", &self.strangers), ("known", &self.known)]
            .map(|(state, room)| (state, room.turned_away()))
    }

    pub fn new(capacity: Capacity) -> Self {
        Self {
            handshakes: Room::new("handshakes", capacity.handshakes),
            strangers: Room::new("connections without a certificate", capacity.strangers),
            known: Room::new("connections with a certificate", capacity.known),
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    rooms: Rooms,
    connections: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        let accepted = tokio::select! {
            () = connections.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = rooms.handshakes.enter(Client::at(peer.ip())) else { continue };
                let (connections, rooms, tls) = (connections.clone(), rooms.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(stream) = handshake(stream, peer, &tls, place).await else { return };
                    if let Some(connection) = Connection::enter(stream, peer, &rooms, tls.denied()) {
                        // If nobody takes it any more, the connection is closed by dropping it.
                        let _ = connections.send(Ok(connection)).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control plane's port cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection is closed before its place is free.
async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    tls: &ServerTls,
    mut place: Place,
) -> Option<TlsStream<TcpStream>> {
    // Small messages must not wait for company; a stream that refuses this is only slower.
    let _ = stream.set_nodelay(true);
    let end = Instant::now() + HANDSHAKE_DEADLINE;
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let hello = tokio::select! {
        hello = timeout(HELLO_DEADLINE, hello) => hello,
        () = place.cut() => return None,
    };
    let done = match hello {
        Ok(Ok(start)) => {
            place.busy();
            tokio::select! {
                done = timeout_at(end, start.into_stream(tls.current())) => done,
                () = place.cut() => return None,
            }
        }
        Ok(Err(error)) => Ok(Err(error)),
        Err(late) => Err(late),
    };
    match done {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::info!(%peer, %error, "a TLS handshake with the control plane failed"),
        Err(_) => tracing::info!(%peer, "a TLS handshake with the control plane took too long"),
    }
    None
}

impl Connection {
    /// `None` if there is no room for it.
    fn enter(
        stream: TlsStream<TcpStream>,
        peer: SocketAddr,
        rooms: &Rooms,
        denied: watch::Receiver<Arc<DenyList>>,
    ) -> Option<Self> {
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let svid = leaf.and_then(|leaf| X509Svid::parse(leaf).ok());
        let cut: Pin<Box<dyn Future<Output = ()> + Send>> = match svid {
            Some(svid) => {
                let mut place = rooms.known.enter(Client::with(&svid, Some(peer.ip())))?;
                Box::pin(async move {
                    tokio::select! {
                        () = until_denied(svid, denied) => {}
                        () = place.cut() => {}
                    }
                })
            }
            None => Box::pin(until_strange(rooms.strangers.enter(Client::at(peer.ip()))?)),
        };
        Some(Self { stream, cut: Some(cut) })
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let cut = self.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready());
        if cut {
            self.cut = None;
        }
        cut
    }
}

/// Until the time of a peer without a certificate is over.
async fn until_strange(mut place: Place) {
    place.busy();
    if timeout(ASKS, place.cut()).await.is_err() {
        place.idle();
        let _ = timeout(STRANGER - ASKS, place.cut()).await;
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
