//! Stands between a registry and a Consul server: counts what is asked, and can cut or freeze everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    Open,
    /// Bytes are held back, connections stay.
    Frozen,
    /// Connections end, and new ones too.
    Cut,
}

pub struct Relay {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    /// Questions for the names of all services.
    names: AtomicUsize,
    /// Questions for the instances of one.
    instances: AtomicUsize,
    all: AtomicUsize,
}

impl Relay {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            line: watch::Sender::new(Line::Open),
            counts: Arc::default(),
        };
        tokio::spawn(accept(listener, server, relay.line.subscribe(), relay.counts.clone()));
        relay
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many were made in all.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// The greatest number that were open at one time.
    pub fn most_open(&self) -> usize {
        self.counts.most_open.load(Ordering::Relaxed)
    }

    /// How many questions there were.
    pub fn questions(&self) -> usize {
        self.counts.all.load(Ordering::Relaxed)
    }

    /// How often names and instances were asked for.
    pub fn asked(&self) -> (usize, usize) {
        (self.counts.names.load(Ordering::Relaxed), self.counts.instances.load(Ordering::Relaxed))
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: watch::Receiver<Line>, counts: Arc<Counts>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        if *line.borrow() == Line::Cut {
            continue;
        }
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(upstream) = TcpStream::connect(server).await else { continue };
        let open = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most_open.fetch_max(open, Ordering::Relaxed);
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let ((from, to), (back, out)) = (client.into_split(), upstream.into_split());
        let mut cut = line.clone();
        let (there, here) = (copy(from, out, line.clone(), Some(counts.clone())), copy(back, to, line.clone(), None));
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            tokio::select! {
                () = there => {}
                () = here => {}
                _ = cut.wait_for(|line| *line == Line::Cut) => {}
            }
            counts.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    counts: Option<Arc<Counts>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if line.wait_for(|line| *line == Line::Open).await.is_err() {
            return;
        }
        if let Some(counts) = &counts {
            count(&buffer[..read], counts);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// A client sends the head of a question in one piece.
fn count(bytes: &[u8], counts: &Counts) {
    if bytes.starts_with(b"GET ") {
        counts.all.fetch_add(1, Ordering::Relaxed);
    }
    if bytes.starts_with(b"GET /v1/catalog/services") {
        counts.names.fetch_add(1, Ordering::Relaxed);
    } else if bytes.starts_with(b"GET /v1/health/service/") {
        counts.instances.fetch_add(1, Ordering::Relaxed);
    }
}
