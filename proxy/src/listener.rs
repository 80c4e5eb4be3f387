//! Listeners: accept, sniff, pick a filter chain, take off TLS, and hand over to HTTP or TCP.

mod arrival;
mod chain;
mod chains;
pub mod connection_log;
mod handshake;
mod lifetime;
mod serve;
mod serving;
pub(crate) mod sniff;
mod socket;
#[cfg(test)]
pub mod test_kit;
#[cfg(test)]
mod tests;

pub use arrival::Known;
pub use chains::Chains;
pub use lifetime::Bounds;
pub use socket::{bind, keepalive_of};

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::drain::Drain;
use crate::worker::Worker;

/// How long accepting rests when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// A connection that somebody else accepted for one of the listeners.
#[derive(Debug)]
pub struct Handed {
    pub tcp: std::net::TcpStream,
    pub peer: SocketAddr,
    /// The listener's address.
    pub listener: SocketAddr,
    pub known: Known,
}

/// Serves a connection that was handed over, if its listener is there.
pub fn take(worker: &Rc<Worker>, handed: Handed) {
    let Some(active) = worker.chains.at(handed.listener) else { return };
    match tokio::net::TcpStream::from_std(handed.tcp) {
        Ok(tcp) => {
            let serving = serve::connection(Rc::clone(worker), active, tcp, handed.peer, handed.known);
            drop(tokio::task::spawn_local(serving));
        }
        Err(error) => tracing::warn!(listener = %handed.listener, %error, "a connection could not be taken up"),
    }
}

/// Accepts connections on one socket until the listener goes.
pub async fn accept(worker: Rc<Worker>, socket: TcpListener, address: SocketAddr, stop: Drain) {
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.draining() => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let Some(active) = worker.chains.at(address) else { continue };
                in_a_row += 1;
                let its_turn_ends = active.listener.accepts_at_a_time.is_some_and(|most| in_a_row >= most);
                let serving = serve::connection(Rc::clone(&worker), active, tcp, peer, Known::default());
                drop(tokio::task::spawn_local(serving));
                if its_turn_ends {
                    in_a_row = 0;
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "no connection can be accepted; resting");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Errors that concern the connection that was about to be accepted, not the listener (accept(2)).
pub fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
