//! Stands before Consul and counts what is asked of it, and how much it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub struct Counter {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    questions: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counter {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counter = Self { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = counter.counts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, server, counts.clone()));
            }
        });
        counter
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was counted since it was told last, and the connections so far.
    pub fn told(&self) -> String {
        let Counts { connections, questions, bytes } = &*self.counts;
        let (questions, bytes) = (questions.swap(0, Ordering::Relaxed), bytes.swap(0, Ordering::Relaxed));
        let connections = connections.load(Ordering::Relaxed);
        format!("{questions} queries, {} kB of answers, {connections} connections so far", bytes / 1_000)
    }
}

/// Carries bytes both ways until either end is done. A client sends the head of a question in one piece.
async fn carry(client: TcpStream, server: SocketAddr, counts: Arc<Counts>) {
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let ((mut asked, mut to_client), (mut answered, mut to_server)) = (client.into_split(), upstream.into_split());
    let there = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = asked.read(&mut buffer).await {
            counts.questions.fetch_add(usize::from(buffer.starts_with(b"GET ")), Ordering::Relaxed);
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let here = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = answered.read(&mut buffer).await {
            counts.bytes.fetch_add(read, Ordering::Relaxed);
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = here => {}
    }
}
