//! The node proxy's ports: finds out whose each connection is, and hands it to that workload's workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use runtime::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::counters::Refusal;
use super::{Shared, asked};
use crate::admin::Admin;
use crate::listener::{Handed, Known, is_of_one_connection};
use crate::socket_owner::{self, canonical};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may be about to say it, at each port.
const MOST_WAITING: usize = 4096;
/// How long accepting rests when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What the ports have in common.
#[derive(Clone)]
pub struct Front {
    pub shared: Arc<Shared>,
    pub shutdown: Shutdown,
}

impl Front {
    /// Programs of this machine. They are served to the very end: what is under way may need others.
    pub async fn outgoing(self, socket: TcpListener) {
        accept(socket, std::future::pending(), |tcp, peer| self.clone().take_request(tcp, peer)).await;
    }

    /// Connections from elsewhere, until the end begins.
    pub async fn incoming(self, socket: TcpListener) {
        let shutdown = self.shutdown.clone();
        accept(socket, shutdown.draining(), |tcp, peer| self.clone().take_call(tcp, peer)).await;
    }

    async fn take_request(self, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let user = socket_owner::user(peer, tcp.local_addr()?);
        let member = user.as_ref().ok().and_then(|user| self.shared.of_user(*user));
        let Some(member) = member else {
            self.shared.counters.refused(Refusal::User);
            let who =
                user.map_or_else(|error| format!("a user that is not known ({error})"), |uid| format!("user {uid}"));
            tracing::debug!(%peer, who, "a request of nobody's");
            let told =
                format!("no workload of this machine runs as {who}; name its user in the file of weft node-proxy\n");
            return refuse(tcp, "403 Forbidden", &told).await;
        };
        let Some(admin) = member.ready() else {
            self.shared.counters.refused(Refusal::NotReady);
            let told = format!("{} is not ready: {}\n", member.name(), member.why_not());
            return refuse(tcp, "503 Service Unavailable", &told).await;
        };
        let settings = &member.settings;
        let listener = SocketAddr::new(settings.http_proxy_address, settings.http_proxy_port);
        hand_over(&admin, tcp, peer, listener, Known::default())
    }

    async fn take_call(self, mut tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let counters = &self.shared.counters;
        let mut read = BytesMut::new();
        let named = timeout(PATIENCE, asked::named(&mut tcp, &mut read)).await.map_err(io::Error::from);
        let named = named.flatten().inspect_err(|_| counters.refused(Refusal::Silent))?;
        let Some(place) = self.shared.table.find(named.as_ref()) else {
            counters.refused(Refusal::Service);
            tracing::info!(%peer, ?named, "a connection for a service that no workload of this machine serves");
            return Ok(());
        };
        let Some(admin) = self.shared.members[place.workload].ready() else {
            counters.refused(Refusal::NotReady);
            return Ok(());
        };
        hand_over(&admin, tcp, peer, place.listener, Known { meant: Some(place.listener), read })
    }
}

fn hand_over(admin: &Admin, tcp: TcpStream, peer: SocketAddr, listener: SocketAddr, known: Known) -> io::Result<()> {
    let (tcp, peer) = (tcp.into_std()?, canonical(peer));
    admin.data_plane.hand_over(Handed { tcp, peer, listener, known });
    Ok(())
}

async fn accept<F>(socket: TcpListener, end: impl Future<Output = ()>, take: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_WAITING));
    let mut end = std::pin::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let taken = take(tcp, peer);
                tokio::spawn(async move {
                    if let Err(error) = taken.await {
                        tracing::debug!(%peer, %error, "a connection ended before it was anybody's");
                    }
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted; resting");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Answers a request, of which nothing was read yet, and ends the connection. One of HTTP/2 is ended without a word.
pub(crate) async fn refuse(mut tcp: TcpStream, status: &str, told: &str) -> io::Result<()> {
    let mut read = Vec::new();
    let head = async {
        while !read.windows(4).any(|end| end == b"\r\n\r\n") && read.len() < asked::LONGEST_HEAD {
            if tcp.read_buf(&mut read).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    timeout(PATIENCE, head).await??;
    if read.starts_with(b"PRI * HTTP/2") {
        return Ok(());
    }
    let length = told.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{told}"
    );
    tcp.write_all(answer.as_bytes()).await?;
    tcp.shutdown().await?;
    // What still comes is read, so that the answer is not lost to a reset.
    let rest = async {
        while tcp.read(&mut [0; 4096]).await? > 0 {}
        io::Result::Ok(())
    };
    timeout(Duration::from_secs(1), rest).await?
}
