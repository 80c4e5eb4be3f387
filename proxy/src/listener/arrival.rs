//! What the listener filters learn of a connection before its filter chain is picked: where it was meant to go, who it
//! is really from, and what its first bytes are. Bytes that are looked at stay in the buffer.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::sniff::{self, Sniffed};
use crate::config::{Listener, ListenerFilterKind, ProxyProtocol};
use crate::proxy_protocol::{Addresses, Parsed, parse};
use crate::stats::ListenerStats;

/// A connection that was accepted.
pub struct Arrival {
    pub tcp: TcpStream,
    /// What was read of it.
    pub read: BytesMut,
    /// Where it is to: of the socket, unless a filter learnt better.
    pub local: SocketAddr,
    /// Who it is from: the peer, unless a filter learnt better.
    pub remote: SocketAddr,
    /// The peer of the socket.
    pub direct: SocketAddr,
    /// Whether `local` is what a filter learnt.
    pub restored: bool,
    pub sniffed: Sniffed,
    /// TLVs of a PROXY protocol header that are to be sent upstream.
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

/// What is known of a connection before any filter looks at it.
#[derive(Debug, Default)]
pub struct Known {
    /// Where it was meant to go, if that is not the socket's own address.
    pub meant: Option<SocketAddr>,
    /// What was read of it.
    pub read: BytesMut,
}

impl Arrival {
    pub fn new(tcp: TcpStream, peer: SocketAddr, known: Known) -> io::Result<Self> {
        let local = known.meant.map_or_else(|| tcp.local_addr(), Ok)?;
        Ok(Self {
            tcp,
            read: known.read,
            local,
            remote: peer,
            direct: peer,
            restored: known.meant.is_some(),
            sniffed: Sniffed::nothing(),
            tlvs: Vec::new(),
        })
    }

    /// Lets the listener's filters look at it, within the time they have.
    pub async fn inspect(&mut self, listener: &Listener, stats: &ListenerStats) -> io::Result<()> {
        if listener.filters.is_empty() {
            return Ok(());
        }
        let limit = listener.listener_filters_timeout;
        if limit.is_zero() {
            return self.run(listener, stats).await;
        }
        match tokio::time::timeout(limit, self.run(listener, stats)).await {
            Ok(ended) => ended,
            Err(_) => {
                stats.pre_cx_timeout.add(1);
                if listener.continue_on_listener_filters_timeout {
                    return Ok(());
                }
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    async fn run(&mut self, listener: &Listener, stats: &ListenerStats) -> io::Result<()> {
        for filter in &listener.filters {
            if filter.disabled.as_ref().is_some_and(|disabled| disabled.holds(self.local)) {
                continue;
            }
            match &filter.kind {
                ListenerFilterKind::OriginalDst => self.restore(),
                ListenerFilterKind::ProxyProtocol(settings) => self.proxy_protocol(settings, stats).await?,
                ListenerFilterKind::TlsInspector => {
                    sniff::tls(&mut self.tcp, &mut self.read, &mut self.sniffed).await?;
                }
                ListenerFilterKind::HttpInspector => {
                    sniff::http(&mut self.tcp, &mut self.read, &mut self.sniffed).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks the system where a redirected connection was meant to go (netfilter's REDIRECT). One that TPROXY brought
    /// has kept its destination as the socket's own address.
    fn restore(&mut self) {
        let socket = socket2::SockRef::from(&self.tcp);
        let (transparent, original) = match self.local {
            SocketAddr::V4(_) => (socket.ip_transparent_v4(), socket.original_dst_v4()),
            SocketAddr::V6(_) => (socket.ip_transparent_v6(), socket.original_dst_v6()),
        };
        if transparent.unwrap_or(false) {
            self.restored = true;
        } else if let Some(original) = original.ok().and_then(|address| address.as_socket()) {
            (self.local, self.restored) = (original, true);
        }
    }

    async fn proxy_protocol(&mut self, settings: &ProxyProtocol, stats: &ListenerStats) -> io::Result<()> {
        let refused = |problem: String| {
            stats.proxy_protocol_error.add(1);
            Err(io::Error::new(io::ErrorKind::InvalidData, problem))
        };
        let header = loop {
            match parse(&self.read) {
                Err(error) => return refused(error.to_string()),
                Ok(Parsed::Absent) if settings.optional => return Ok(()),
                Ok(Parsed::Absent) => return refused("there is no PROXY protocol header".to_owned()),
                Ok(Parsed::Header(header)) => break header,
                Ok(Parsed::Incomplete(needed)) => {
                    self.read.reserve(needed - self.read.len());
                    if self.tcp.read_buf(&mut self.read).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        };
        if settings.disallowed.contains(&header.version) {
            return refused("this version of the PROXY protocol is not allowed".to_owned());
        }
        self.read.advance(header.length);
        if let Some(Addresses { source, destination }) = header.addresses {
            self.restored |= destination != self.local;
            (self.remote, self.local) = (source, destination);
        }
        self.tlvs.extend(header.tlvs.into_iter().filter(|(kind, _)| settings.pass_through.keeps(*kind)));
        Ok(())
    }
}
