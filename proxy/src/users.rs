//! Users of this machine who may send requests out as a workload, and who may change its sidecar. A loopback port is
//! open to every program of the machine; the kernel says whose each connection is.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::socket_owner;

/// Cloning shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users(Arc<[u32]>);

impl Users {
    /// The user that this process runs as, root, who can be anybody, and these.
    pub fn beside(others: &[u32]) -> Self {
        Self::only([&[0, nix::unistd::geteuid().as_raw()], others].concat())
    }

    pub(crate) fn only(mut users: Vec<u32>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self(users.into())
    }

    /// Whether the user may whose connection from `peer` came to our socket at `own`; the error is for that user.
    pub(crate) fn check(&self, peer: SocketAddr, own: SocketAddr) -> Result<(), String> {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let who = match socket_owner::user(plain(peer), plain(own)) {
            Ok(user) if self.0.contains(&user) => return Ok(()),
            Ok(user) => format!("user {user}"),
            Err(error) => format!("a user that is not known ({error})"),
        };
        let users: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        Err(format!(
            "{who} may not use this workload's proxy; users {} may. Start the proxy with --allow-user to let others\n",
            users.join(" and ")
        ))
    }
}

/// Whether the kernel tells whose a connection is; not all that look like Linux do.
pub fn are_known() -> bool {
    let asked = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, peer) = listener.accept()?;
        let user = socket_owner::user(peer, server.local_addr()?);
        drop(client);
        user
    };
    match asked() {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "the kernel does not tell whose a connection is: every local user may use the proxy");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_that_are_named_may() {
        assert!(are_known());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, own) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(Users::beside(&[]).check(peer, own), Ok(()));
        let told = Users::only(vec![4_000_000_001]).check(peer, own).unwrap_err();
        let user = nix::unistd::geteuid();
        assert!(told.starts_with(&format!("user {user} may not")) && told.contains("4000000001"), "{told}");
        drop(client);
        // Whoever is gone, or is elsewhere, is nobody.
        let elsewhere = "192.0.2.1:1".parse().unwrap();
        assert!(Users::beside(&[]).check(elsewhere, own).unwrap_err().contains("not known"));
    }
}
