//! Which user a connection of this machine is from: the kernel is asked for the socket at its other end (sock_diag(7)).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// `nlmsghdr`, in bytes.
const HEADER: usize = 16;
/// `inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `inet_diag_sockid`, of which the first four bytes are the two ports.
const ID: usize = 48;
/// `inet_diag_msg` has the user's number here, counted from its beginning, and behind it the file's.
const UID: usize = 4 + ID + 12;
const INODE: usize = UID + 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const TCP: u8 = 6;

/// The user that opened the connection from `peer` to our socket at `own`, also if that is a socket for both families,
/// which shows IPv4 as IPv6. An error of kind `NotFound` if there is no such connection any more.
pub fn user(peer: SocketAddr, own: SocketAddr) -> io::Result<u32> {
    let (peer, own) = (canonical(peer), canonical(own));
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    // The kernel's own address. It answers before the call returns.
    sendto(socket.as_raw_fd(), &question(peer, own), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    read(&answer[..length])
}

/// IPv4 that is written as IPv6 as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Asks for one socket by its own address and that of its other end.
fn question(own: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let family = if own.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut out = Vec::with_capacity(HEADER + REQUEST);
    out.extend(u32::try_from(HEADER + REQUEST).unwrap_or_default().to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and sender: there is one answer to one question.
    out.extend([0; 8]);
    out.extend([u8::try_from(family as i32).unwrap_or_default(), TCP, 0, 0]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(own.port().to_be_bytes());
    out.extend(other.port().to_be_bytes());
    for address in [own.ip(), other.ip()] {
        match address {
            IpAddr::V4(address) => {
                out.extend(address.octets());
                out.extend([0; 12]);
            }
            IpAddr::V6(address) => out.extend(address.octets()),
        }
    }
    // Any interface; and any of those that had this address, as there is no cookie.
    out.extend(0u32.to_ne_bytes());
    out.extend([0xff; 8]);
    out
}

fn read(answer: &[u8]) -> io::Result<u32> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is too short");
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(short)
    };
    let kind = answer.get(4..6).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok()).map(u16::from_ne_bytes);
    match kind.ok_or_else(short)? {
        SOCK_DIAG_BY_FAMILY => {
            let uid = number(HEADER + UID)?;
            // A socket that nobody has open is no file. Whose it is shown to be depends on the kernel: the last owner's,
            // or root's.
            match number(HEADER + INODE)? {
                0 => Err(io::Error::new(io::ErrorKind::NotFound, "its program closed it")),
                _ => Ok(uid),
            }
        }
        NLMSG_ERROR => Err(io::Error::from_raw_os_error(number(HEADER)?.cast_signed().wrapping_neg())),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the kernel answered with message {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_the_users_who_opened_it() {
        let own = nix::unistd::getuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = connection(address);
            assert_eq!(user(client.local_addr().unwrap(), server.local_addr().unwrap()).unwrap(), own);
        }
        let listener = TcpListener::bind("[::]:0").unwrap();
        let _client = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert!(peer.is_ipv6());
        assert_eq!(user(peer, server.local_addr().unwrap()).unwrap(), own);
    }

    #[test]
    fn a_connection_that_is_gone_is_nobodys() {
        let (client, server) = connection("127.0.0.1:0");
        let (peer, own) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        drop(client);
        assert_eq!(user(peer, own).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(user("127.0.0.1:1".parse().unwrap(), own).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_strange_answer_is_an_error() {
        for bytes in [&[][..], &[0; 15], &[0xff; 40]] {
            assert_eq!(read(bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
