//! The wire between the mesh and an API server, which a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server.
pub struct Relay {
    pub address: SocketAddr,
    wire: Arc<watch::Sender<Wire>>,
}

#[derive(Clone, Copy)]
struct Wire {
    /// Connections of an earlier count are cut.
    cuts: u64,
    is_open: bool,
}

impl Relay {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(watch::Sender::new(Wire { cuts: 0, is_open: true }));
        let shared = wire.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let now = *shared.borrow();
                if now.is_open {
                    tokio::spawn(forward(stream, server, shared.subscribe(), now.cuts));
                }
            }
        });
        Self { address, wire }
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        self.wire.send_modify(|wire| wire.cuts += 1);
    }

    /// Cuts every connection, and takes no new one until `mend`; nothing comes through once this is done.
    pub async fn sever(&self) {
        self.wire.send_modify(|wire| *wire = Wire { cuts: wire.cuts + 1, is_open: false });
        // Each connection listens for as long as it is forwarded.
        self.wire.closed().await;
    }

    pub fn mend(&self) {
        self.wire.send_modify(|wire| wire.is_open = true);
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut wire: watch::Receiver<Wire>, cuts: u64) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        biased;
        _ = wire.wait_for(|wire| wire.cuts != cuts) => {}
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
    }
}
