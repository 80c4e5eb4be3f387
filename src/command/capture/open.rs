//! Connections that are open when capture begins. The system tracks connections only once a rule needs it to, and takes
//! the next packet of one that it does not know for the first, from whichever side it is: the rules would reset that
//! connection, or drop what comes over it. So it is told of them before the rules come (ctnetlink, nfnetlink_conntrack.h).

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// Of who opened it and of who took it: what else comes from the first is then a connection that begins anew.
type Ends = (SocketAddr, SocketAddr);

/// The kernel's lists, one for each family.
const LISTS: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// `TCP_LISTEN` there, in hexadecimal.
const LISTENS: &str = "0A";
/// `TCP_ESTABLISHED`, and with our end closed `TCP_FIN_WAIT1` and `TCP_FIN_WAIT2`.
const OPEN: [&str; 3] = ["01", "04", "05"];
/// `TCP_CLOSE_WAIT`: whoever asked has closed its end, and waits for the answer. Of a connection that goes out it may be
/// the proxy that closed it, and nothing more is to go the straight way.
const HALF_CLOSED: &str = "08";

/// Has the system know all connections that are open, as such; the error is that of the last one of which it cannot.
pub fn tell() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkNetFilter,
    )?;
    let mut text = std::fs::read_to_string(LISTS[0])?;
    match std::fs::read_to_string(LISTS[1]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        ipv6 => text += &ipv6?,
    }
    let mut outcome = Ok(());
    for ends in open(&text) {
        if let Err(error) = track(&socket, ends) {
            outcome = Err(error);
        }
    }
    outcome
}

/// The connections of the lists that leave the machine, or may.
fn open(lists: &str) -> Vec<Ends> {
    let sockets = lists.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some((address(words.next()?)?, address(words.next()?)?, words.next()?))
    });
    let listeners = sockets.clone().filter(|(_, _, state)| *state == LISTENS);
    let ports: HashSet<u16> = listeners.map(|(own, ..)| own.port()).collect();
    let ends = sockets.filter(|(own, other, _)| !(own.ip().is_loopback() && other.ip().is_loopback()));
    let ends = ends.filter_map(|(own, other, state)| match (ports.contains(&own.port()), OPEN.contains(&state)) {
        (true, is_open) => (is_open || state == HALF_CLOSED).then_some((other, own)),
        (false, is_open) => is_open.then_some((own, other)),
    });
    ends.collect()
}

/// `0100007F:1F90`: words of the address as the machine's numbers, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().as_chunks::<8>().0.iter();
    let words = words.map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes));
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match ip.len() {
        8 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        32 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The system may know of it already.
fn track(socket: &OwnedFd, ends: Ends) -> io::Result<()> {
    // The kernel's own address. It answers before the call returns.
    sendto(socket.as_raw_fd(), &question(ends), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let number = answer[..length].get(16..20).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let number = number.map(i32::from_ne_bytes).ok_or(io::ErrorKind::InvalidData)?;
    match io::Error::from_raw_os_error(number.wrapping_neg()) {
        error if number != 0 && error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// `IPCTNL_MSG_CT_NEW` of the subsystem `NFNL_SUBSYS_CTNETLINK`.
const NEW_CONNECTION: u16 = 1 << 8;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_EXCL`, `NLM_F_CREATE`.
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `IPS_SEEN_REPLY`, `IPS_ASSURED`, `IPS_CONFIRMED`.
const STATUS: u32 = 0x2 | 0x4 | 0x8;
/// As long as the system keeps an idle connection by itself, in seconds.
const KEPT: u32 = 432_000;
/// `TCP_CONNTRACK_ESTABLISHED`.
const TRACKED_AS_ESTABLISHED: u8 = 3;
/// `IP_CT_TCP_FLAG_SACK_PERM` and `IP_CT_TCP_FLAG_BE_LIBERAL`, and that both are meant: its history is not known, as where
/// the system picks one up by itself.
const UNKNOWN_HISTORY: [u8; 2] = [0x0a, 0x0a];

fn question((opener, taker): Ends) -> Vec<u8> {
    let family = if opener.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut body = vec![u8::try_from(family as i32).unwrap_or_default(), 0, 0, 0];
    // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_TIMEOUT.
    body.extend(attribute(1 | NESTED, &tuple(opener, taker)));
    body.extend(attribute(2 | NESTED, &tuple(taker, opener)));
    body.extend(attribute(3, &STATUS.to_be_bytes()));
    // CTA_PROTOINFO_TCP_STATE, and the flags of both directions.
    let flags = [4, 5].map(|direction| attribute(direction, &UNKNOWN_HISTORY)).concat();
    let tcp = [attribute(1, &[TRACKED_AS_ESTABLISHED]), flags].concat();
    body.extend(attribute(4 | NESTED, &attribute(1 | NESTED, &tcp)));
    body.extend(attribute(7, &KEPT.to_be_bytes()));
    let mut message = u32::try_from(16 + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    message.extend([NEW_CONNECTION.to_ne_bytes(), FLAGS.to_ne_bytes()].concat());
    // Sequence and sender: there is one answer to one question.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`.
fn tuple(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    const TCP: u8 = 6;
    let ends = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [attribute(1, &from.octets()), attribute(2, &to.octets())],
        (from, to) => [(3, from), (4, to)].map(|(kind, ip)| match ip {
            IpAddr::V4(ip) => attribute(kind, &ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => attribute(kind, &ip.octets()),
        }),
    };
    let ports = [attribute(2, &from.port().to_be_bytes()), attribute(3, &to.port().to_be_bytes())].concat();
    let protocol = [attribute(1, &[TCP]), ports].concat();
    [attribute(1 | NESTED, &ends.concat()), attribute(2 | NESTED, &protocol)].concat()
}

/// With its length before it, and filled up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = [u16::try_from(length).unwrap_or_default().to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn open_connections_are_read_from_the_kernels_lists() {
        // A listener, one that it took, one within the machine, one that is half closed, and one that is over.
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n   \
             1: 0100000A:1F90 0200000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1\n   \
             2: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1\n   \
             3: 0100000A:1F90 0200000A:C352 08 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1\n   \
             4: 0100000A:1F90 0200000A:C353 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0 20 4 30 10 -1\n";
        let ends = |opener: &str, taker: &str| (opener.parse().unwrap(), taker.parse().unwrap());
        let taken = [50000, 50002].map(|port| ends(&format!("10.0.0.2:{port}"), "10.0.0.1:8080"));
        assert_eq!(open(text), taken);
        // Two that go out, and one of which the other end is closed.
        let text = "   0: 000000FD000000000000000001000000:C350 000000FD000000000000000002000000:0016 01\n   \
             1: 0000000000000000FFFF00000100000A:C350 0000000000000000FFFF00000200000A:0016 05\n   \
             2: 0000000000000000FFFF00000100000A:C351 0000000000000000FFFF00000200000A:0016 08\n   3: 00:00 junk";
        let wanted = [ends("[fd00::1]:50000", "[fd00::2]:22"), ends("10.0.0.1:50000", "10.0.0.2:22")];
        assert_eq!(open(text), wanted);
    }

    #[test]
    fn a_question_is_as_long_as_it_says() {
        for (own, other) in [("10.0.0.1:8080", "10.0.0.2:50000"), ("[fd00::1]:22", "[fd00::2]:50000")] {
            let question = question((own.parse().unwrap(), other.parse().unwrap()));
            assert_eq!(u32::from_ne_bytes(question[..4].try_into().unwrap()) as usize, question.len());
            assert_eq!(question.len() % 4, 0);
        }
    }
}
