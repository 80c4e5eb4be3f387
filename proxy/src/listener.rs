//! Listeners: accept, sniff, pick a filter chain, take off TLS, and hand over to HTTP or TCP.

mod chain;
mod chains;
mod serve;
mod sniff;

pub use chains::Chains;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::drain::Drain;
use crate::worker::Worker;

/// How long accepting rests when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts connections on one socket until the listener goes.
pub async fn accept(worker: Rc<Worker>, socket: TcpListener, address: SocketAddr, stop: Drain) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.draining() => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                drop(tokio::task::spawn_local(serve::connection(Rc::clone(&worker), tcp, peer, address)))
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
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Binds one socket per worker. A port that another process holds is an error, even where that process would share.
pub fn bind(address: SocketAddr, backlog: Option<u32>, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // A socket that does not share finds out whether anybody has the port.
    let backlog = backlog.map_or(BACKLOG, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX));
    let probe = open(address, backlog, false)?;
    if workers == 1 {
        return Ok(vec![probe]);
    }
    drop(probe);
    (0..workers).map(|_| open(address, backlog, true)).collect()
}

/// The system lowers it to its own limit, which is this by default.
const BACKLOG: i32 = 4096;

fn open(address: SocketAddr, backlog: i32, share: bool) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}
