//! The machine's address: the one from which it reaches the control plane, looked at again and again, as machines get
//! new ones while they run.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::watch;

use super::Joined;

/// A look costs three system calls, and sends nothing.
const LOOK: Duration = Duration::from_secs(1);

/// The address now and after each change; `None` while the control plane's network is out of reach.
pub(super) fn follow(joined: &Joined) -> watch::Receiver<Option<IpAddr>> {
    let (sender, addresses) = watch::channel(joined.address);
    match joined.address {
        None => drop(tokio::spawn(look(joined.control_plane.clone(), sender))),
        // It never changes, and its receivers wait.
        Some(_) => drop(tokio::spawn(async move { sender.closed().await })),
    }
    addresses
}

async fn look(control_plane: String, sender: watch::Sender<Option<IpAddr>>) {
    loop {
        // While there is no way to the control plane, the last address may well come back.
        if let Ok(address) = towards(&control_plane).await {
            sender.send_if_modified(|known| known.replace(address) != Some(address));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = sender.closed() => return,
        }
    }
}

/// The address that this machine would speak from to the control plane (`https://host:port`).
pub async fn towards(control_plane: &str) -> io::Result<IpAddr> {
    let place = control_plane.trim_start_matches("https://").trim_end_matches('/');
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for peer in lookup_host(place).await? {
        match from(peer).await {
            Ok(address) => return Ok(address),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Connecting a UDP socket only chooses the way.
async fn from(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_control_plane_on_this_machine_is_reached_from_loopback() {
        assert_eq!(towards("https://127.0.0.1:15012").await.unwrap(), IpAddr::from([127, 0, 0, 1]));
        assert!(towards("https://nowhere.invalid:15012/").await.is_err());
    }
}
