//! Listeners made in tests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    CertificateSource, ClusterChoice, CommonTls, Direction, DownstreamTls, FilterChain, FilterChainMatch, Listener,
    NetworkFilter, PeerRules, ServerResumption, SocketSettings, TcpProxy, Tickets, TlsVersion,
};

/// A chain in plaintext that goes to the cluster `c`.
pub fn chain(name: &str, matches: FilterChainMatch) -> Arc<FilterChain> {
    let proxy = TcpProxy {
        stat_prefix: String::new(),
        cluster: ClusterChoice::One("c".into()),
        metadata_match: None,
        hash_source_ip: false,
        idle_timeout: Duration::ZERO,
        max_duration: Duration::ZERO,
        max_connect_attempts: 1,
        access_logs: vec![],
        metrics: None,
    };
    Arc::new(FilterChain {
        before: vec![],
        name: name.into(),
        matches,
        tls: None,
        handshake_timeout: Duration::ZERO,
        filter: NetworkFilter::Tcp(Arc::new(proxy)),
    })
}

/// TLS with a certificate and nothing else.
pub fn tls(certificate: CertificateSource) -> DownstreamTls {
    DownstreamTls {
        common: CommonTls {
            certificates: vec![certificate],
            validation: None,
            peers: PeerRules::default(),
            alpn: vec![],
            min_version: TlsVersion::V12,
            max_version: TlsVersion::V13,
            cipher_suites: None,
            groups: None,
        },
        require_client_certificate: false,
        resumption: ServerResumption { stateful: false, tickets: Tickets::Off, timeout: Duration::ZERO },
        prefer_client_ciphers: false,
        full_scan_certs_on_sni_mismatch: false,
    }
}

/// A listener with these chains and nothing else.
pub fn listener(address: SocketAddr, filter_chains: Vec<Arc<FilterChain>>) -> Listener {
    Listener {
        name: address.to_string(),
        address,
        additional_addresses: vec![],
        binds: true,
        socket: SocketSettings::default(),
        use_original_dst: false,
        direction: Direction::Inbound,
        filter_chains,
        default_filter_chain: None,
        filters: vec![],
        listener_filters_timeout: Duration::ZERO,
        continue_on_listener_filters_timeout: false,
        access_logs: vec![],
        accepts_at_a_time: None,
        buffer_limit: 1 << 20,
        ignores_global_limit: false,
    }
}

/// An address that nobody else is given for as long as this process runs: it is held by a socket that does not listen,
/// beside which another may.
pub fn free() -> SocketAddr {
    free_at(Ipv4Addr::LOCALHOST.into())
}

/// The same, on another address of this machine.
pub fn free_at(address: IpAddr) -> SocketAddr {
    let wanted = SocketAddr::new(address, 0);
    let socket = socket2::Socket::new(socket2::Domain::for_address(wanted), socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&wanted.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}
