//! The sockets of listeners: one for each worker, or one that they share.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::{SocketOption, SocketSettings};

/// Binds one socket per worker. A port that another process holds is an error, even where that process would share.
pub fn bind(address: SocketAddr, settings: &SocketSettings, workers: usize) -> io::Result<Vec<TcpListener>> {
    // A socket that does not share finds out whether anybody has the port.
    let probe = open(address, settings, false)?;
    if workers == 1 {
        return Ok(vec![probe]);
    }
    if settings.shared {
        let others = (1..workers).map(|_| probe.try_clone()).collect::<io::Result<Vec<_>>>()?;
        return Ok(std::iter::once(probe).chain(others).collect());
    }
    drop(probe);
    (0..workers).map(|_| open(address, settings, true)).collect()
}

/// The system lowers it to its own limit, which is this by default.
const BACKLOG: i32 = 4096;

fn open(address: SocketAddr, settings: &SocketSettings, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!settings.ipv4_compat)?;
    }
    if settings.transparent {
        if address.is_ipv6() { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) }?;
    }
    if settings.freebind {
        if address.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }?;
    }
    if let Some(keepalive) = &settings.keepalive {
        socket.set_tcp_keepalive(&keepalive_of(keepalive))?;
    }
    for option in &settings.options {
        set(&socket, *option)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(settings.backlog.map_or(BACKLOG, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX)))?;
    Ok(socket.into())
}

pub fn keepalive_of(settings: &crate::config::Keepalive) -> TcpKeepalive {
    let mut keepalive = TcpKeepalive::new();
    if let Some(time) = settings.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(interval);
    }
    match settings.probes {
        Some(probes) => keepalive.with_retries(probes),
        None => keepalive,
    }
}

fn set(socket: &Socket, option: SocketOption) -> io::Result<()> {
    match option {
        SocketOption::KeepAlive(on) => socket.set_keepalive(on),
        SocketOption::KeepAliveTime(time) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time)),
        SocketOption::KeepAliveInterval(time) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(time)),
        SocketOption::KeepAliveProbes(probes) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(probes)),
        SocketOption::UserTimeout(time) => socket.set_tcp_user_timeout(Some(time)),
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on),
        SocketOption::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes),
        SocketOption::SendBuffer(bytes) => socket.set_send_buffer_size(bytes),
        SocketOption::Mark(mark) => socket.set_mark(mark),
        SocketOption::Priority(priority) => socket.set_priority(priority),
        SocketOption::TypeOfService(tos) => socket.set_tos_v4(tos),
        SocketOption::TrafficClass(class) => socket.set_tclass_v6(class),
        SocketOption::MaxSegment(bytes) => socket.set_tcp_mss(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Keepalive;
    use crate::listener::test_kit::free;

    #[test]
    fn a_socket_is_as_its_settings_say() {
        let settings = SocketSettings {
            freebind: true,
            keepalive: Some(Keepalive { time: Some(Duration::from_secs(77)), probes: Some(4), interval: None }),
            options: vec![SocketOption::UserTimeout(Duration::from_secs(9)), SocketOption::TypeOfService(0x10)],
            ..SocketSettings::default()
        };
        // An address of nobody's, which freebind lets through.
        let sockets = bind("203.0.113.7:0".parse().unwrap(), &settings, 1).unwrap();
        let socket = socket2::SockRef::from(&sockets[0]);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!((socket.tcp_keepalive_retries().unwrap(), socket.tos_v4().unwrap()), (4, 0x10));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
        assert!(bind("203.0.113.7:0".parse().unwrap(), &SocketSettings::default(), 1).is_err());
    }

    #[test]
    fn workers_share_a_socket_or_have_one_each() {
        for shared in [true, false] {
            let settings = SocketSettings { shared, ..SocketSettings::default() };
            let sockets = bind(free(), &settings, 3).unwrap();
            assert_eq!(sockets.len(), 3);
            let all_share = sockets.iter().all(|socket| !socket2::SockRef::from(socket).reuse_port().unwrap());
            assert_eq!(all_share, shared);
        }
    }

    #[test]
    fn the_address_of_all_takes_ipv4_where_it_is_told_to() {
        for ipv4_compat in [true, false] {
            let settings = SocketSettings { ipv4_compat, ..SocketSettings::default() };
            // Nobody else has it with IPv4.
            let port = free().port();
            let _sockets = bind((std::net::Ipv6Addr::UNSPECIFIED, port).into(), &settings, 1).unwrap();
            assert!(std::net::TcpStream::connect(("::1", port)).is_ok());
            assert_eq!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), ipv4_compat);
        }
    }
}
