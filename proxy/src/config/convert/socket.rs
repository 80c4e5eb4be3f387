//! What the sockets of a listener are told.

use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::config::listener::v3 as wire;
use core::socket_option::{SocketState, Value};
use nix::libc;

use crate::config::error::{At, ConfigError};
use crate::config::{Keepalive, SocketOption, SocketSettings};

/// Older bootstraps say `reuse_port`, which is how it is anyway.
pub(super) fn convert(wire: &wire::Listener, ipv4_compat: bool, at: &At<'_>) -> Result<SocketSettings, ConfigError> {
    let options = at.field("socket_options");
    let all = wire.socket_options.iter().enumerate().map(|(index, one)| option(one, &options.index(index)));
    Ok(SocketSettings {
        backlog: wire.tcp_backlog_size,
        transparent: wire.transparent == Some(true),
        freebind: wire.freebind == Some(true),
        shared: wire.enable_reuse_port == Some(false),
        ipv4_compat,
        keepalive: wire.tcp_keepalive.as_ref().map(keepalive),
        options: all.collect::<Result<_, _>>()?,
    })
}

pub(super) fn keepalive(wire: &core::TcpKeepalive) -> Keepalive {
    let seconds = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Keepalive {
        probes: wire.keepalive_probes,
        time: seconds(wire.keepalive_time),
        interval: seconds(wire.keepalive_interval),
    }
}

/// All are set before the socket is bound, which for these options is as good as after.
fn option(wire: &core::SocketOption, at: &At<'_>) -> Result<SocketOption, ConfigError> {
    let Some(Value::IntValue(value)) = wire.value else {
        return Err(at.refuse("a value of bytes", "`int_value` is expected"));
    };
    if SocketState::try_from(wire.state).is_err() {
        return Err(at.field("state").refuse(wire.state, "is not known"));
    }
    let number = || u32::try_from(value).map_err(|_| at.field("int_value").refuse(value, "is out of range"));
    let seconds = || number().map(|seconds| Duration::from_secs(seconds.into()));
    let is = |level: libc::c_int, name: libc::c_int| (wire.level, wire.name) == (i64::from(level), i64::from(name));
    Ok(if is(libc::SOL_SOCKET, libc::SO_KEEPALIVE) {
        SocketOption::KeepAlive(value != 0)
    } else if is(libc::SOL_SOCKET, libc::SO_RCVBUF) {
        SocketOption::ReceiveBuffer(number()? as usize)
    } else if is(libc::SOL_SOCKET, libc::SO_SNDBUF) {
        SocketOption::SendBuffer(number()? as usize)
    } else if is(libc::SOL_SOCKET, libc::SO_MARK) {
        SocketOption::Mark(number()?)
    } else if is(libc::SOL_SOCKET, libc::SO_PRIORITY) {
        SocketOption::Priority(number()?)
    } else if is(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) {
        SocketOption::KeepAliveTime(seconds()?)
    } else if is(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) {
        SocketOption::KeepAliveInterval(seconds()?)
    } else if is(libc::IPPROTO_TCP, libc::TCP_KEEPCNT) {
        SocketOption::KeepAliveProbes(number()?)
    } else if is(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) {
        SocketOption::UserTimeout(Duration::from_millis(number()?.into()))
    } else if is(libc::IPPROTO_TCP, libc::TCP_NODELAY) {
        SocketOption::NoDelay(value != 0)
    } else if is(libc::IPPROTO_TCP, libc::TCP_MAXSEG) {
        SocketOption::MaxSegment(number()?)
    } else if is(libc::IPPROTO_IP, libc::IP_TOS) {
        SocketOption::TypeOfService(number()?)
    } else if is(libc::IPPROTO_IPV6, libc::IPV6_TCLASS) {
        SocketOption::TrafficClass(number()?)
    } else {
        let rule = "keep-alive, user timeout, no-delay, buffer sizes, mark, priority, type of service and segment size \
                    are supported";
        return Err(at.refuse(format_args!("level {} name {}", wire.level, wire.name), rule));
    })
}
