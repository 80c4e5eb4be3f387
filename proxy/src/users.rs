//! Users of this machine who may send requests out as a workload, and who may change its sidecar. A loopback port is
//! open to every program of the machine; the kernel says whose each connection is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::socket_owner;

/// Cloning shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users(Arc<[u32]>);

/// Nobody can be kept out, although that was asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel does not tell whose a connection is ({0}), so no user can be kept out: load its module tcp_diag \
     (modprobe tcp_diag), or leave --allow-user out, which lets every local user in"
)]
pub struct NotTold(#[from] io::Error);

impl Users {
    /// The user that this process runs as, root and those who are named, if the kernel tells whose a connection is.
    /// `None`: it does not, and nobody is named.
    pub fn told(named: &[u32]) -> Result<Option<Self>, NotTold> {
        Self::if_told(named, ask_about_own())
    }

    fn if_told(named: &[u32], told: io::Result<()>) -> Result<Option<Self>, NotTold> {
        match told {
            Ok(()) => Ok(Some(Self::beside(named))),
            Err(error) if named.is_empty() => {
                tracing::warn!(
                    %error, "the kernel does not tell whose a connection is: every local user may use the proxy"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The user that this process runs as, root, who can be anybody, and these.
    pub fn beside(others: &[u32]) -> Self {
        Self::only([&[0, nix::unistd::geteuid().as_raw()], others].concat())
    }

    pub(crate) fn only(mut users: Vec<u32>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self(users.into())
    }

    /// These and others.
    pub fn and(&self, others: &[u32]) -> Self {
        Self::only([&*self.0, others].concat())
    }

    /// Whether the user may whose connection from `peer` came to our socket at `own`; the error is for that user.
    pub(crate) fn check(&self, peer: SocketAddr, own: io::Result<SocketAddr>) -> Result<(), String> {
        let who = match own.and_then(|own| socket_owner::user(peer, own)) {
            Ok(user) if self.0.contains(&user) => return Ok(()),
            Ok(user) => format!("user {user}"),
            Err(error) => format!("a user that is not known ({error})"),
        };
        Err(format!(
            "{who} may not use this workload's proxy; users {self} may. Start the proxy with --allow-user to let others\n"
        ))
    }
}

/// `0 and 1000`
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, user) in self.0.iter().enumerate() {
            let between = if number > 0 { " and " } else { "" };
            write!(f, "{between}{user}")?;
        }
        Ok(())
    }
}

/// Whether the kernel tells whose a connection is; not all that look like Linux do.
fn ask_about_own() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, peer) = listener.accept()?;
    let user = socket_owner::user(peer, server.local_addr()?);
    drop(client);
    user.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_that_are_named_may() {
        assert_eq!(Users::told(&[]).unwrap(), Some(Users::beside(&[])));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, own) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(Users::beside(&[]).check(peer, Ok(own)), Ok(()));
        let told = Users::only(vec![4_000_000_001]).check(peer, Ok(own)).unwrap_err();
        let user = nix::unistd::geteuid();
        assert!(told.starts_with(&format!("user {user} may not")) && told.contains("4000000001"), "{told}");
        drop(client);
        // Whoever is gone, or is elsewhere, is nobody.
        let elsewhere = "192.0.2.1:1".parse().unwrap();
        assert!(Users::beside(&[]).check(elsewhere, Ok(own)).unwrap_err().contains("not known"));
        let gone = Err(io::Error::from(io::ErrorKind::NotConnected));
        assert!(Users::beside(&[]).check(peer, gone).unwrap_err().contains("not known"));
    }

    #[test]
    fn who_names_users_is_not_let_down_by_a_kernel_that_tells_them_not_apart() {
        let unknown = || Err(io::Error::from(io::ErrorKind::Unsupported));
        assert_eq!(Users::if_told(&[], unknown()).unwrap(), None);
        let refused = Users::if_told(&[7], unknown()).unwrap_err().to_string();
        assert!(refused.contains("modprobe tcp_diag") && refused.contains("--allow-user"), "{refused}");
        assert_eq!(Users::if_told(&[7], Ok(())).unwrap(), Some(Users::beside(&[7])));
    }
}
