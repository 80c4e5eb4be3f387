//! Hands questions on to the machine's nameservers, bit for bit but for the id, and takes only the answer to what was
//! asked: from the address that was asked, under an id and on a port that nobody else knows.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::DnsSettings;
use super::packet::{self, Code, HEADER, Query, Transport};
use super::resolv_conf::ResolvConf;

/// How long one nameserver is waited for.
const EACH: Duration = Duration::from_millis(1500);
/// How long all together are. Programs ask again after five seconds (resolv.conf(5)), and should have an answer before.
const TOGETHER: Duration = Duration::from_millis(4500);
/// How often `resolv.conf` is looked at, while there are questions.
const LOOK: Duration = Duration::from_secs(1);

pub struct Upstream {
    settings: DnsSettings,
    /// The server's own addresses, which it never asks.
    own: Vec<SocketAddr>,
    conf: Mutex<Conf>,
    flights: Flights,
}

#[derive(Default)]
struct Conf {
    read: Arc<ResolvConf>,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

/// The port that a question went out from, and its id.
type Ticket = (u16, [u8; 2]);

/// The questions that are under way.
#[derive(Clone, Default)]
struct Flights(Arc<Mutex<HashSet<Ticket>>>);

struct Flight(Flights, Ticket);

impl Upstream {
    pub fn new(settings: DnsSettings, own: Vec<SocketAddr>) -> Self {
        Self { settings, own, conf: Mutex::default(), flights: Flights::default() }
    }

    /// What `resolv.conf` says now.
    pub fn conf(&self) -> Arc<ResolvConf> {
        let mut conf = self.conf.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if conf.looked.is_some_and(|looked| now < looked + LOOK) {
            return Arc::clone(&conf.read);
        }
        let path = &self.settings.resolv_conf;
        let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if conf.looked.is_none() || changed != conf.changed {
            // Between two versions there may be none for a moment; the last one holds.
            match std::fs::read_to_string(path) {
                Ok(text) => conf.read = Arc::new(ResolvConf::parse(&text)),
                Err(_) if conf.looked.is_some() => {}
                Err(_) => conf.read = Arc::new(ResolvConf::parse("")),
            }
            conf.changed = changed;
        }
        conf.looked = Some(now);
        Arc::clone(&conf.read)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let given = &self.settings.upstreams;
        let mut servers = if given.is_empty() { self.conf().nameservers.clone() } else { given.clone() };
        servers.retain(|server| !self.own.iter().any(|own| is_same(*server, *own)));
        servers
    }

    /// Whether a question comes from here: it was sent out and found its way back.
    pub fn is_own(&self, from: SocketAddr, query: &Query<'_>) -> bool {
        self.flights.lock().contains(&(from.port(), query.id()))
    }

    /// The answer of the first nameserver that has a good one; else the first that refuses or fails; `None` if all are
    /// away.
    pub async fn ask(&self, query: &Query<'_>, transport: Transport) -> Option<Vec<u8>> {
        let servers = self.servers();
        let end = Instant::now() + TOGETHER;
        let mut poor = None;
        // A datagram may be lost; a connection that fails does so again.
        let rounds = if transport == Transport::Udp { 2 } else { 1 };
        for _ in 0..rounds {
            for server in &servers {
                let asked = async {
                    match transport {
                        Transport::Udp => self.ask_udp(*server, query).await,
                        Transport::Tcp => self.ask_tcp(*server, query).await,
                    }
                };
                let answer = timeout_at(end.min(Instant::now() + EACH), asked).await;
                match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(answer) if !is_poor(&answer) => return Some(answer),
                    Ok(answer) => drop(poor.get_or_insert(answer)),
                    Err(error) => tracing::debug!(%server, %error, "a nameserver did not answer"),
                }
            }
            if poor.is_some() || Instant::now() >= end {
                break;
            }
        }
        poor
    }

    async fn ask_udp(&self, server: SocketAddr, query: &Query<'_>) -> io::Result<Vec<u8>> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await?;
        // From now on nothing is received from anybody else.
        socket.connect(server).await?;
        let flight = self.flights.enter(socket.local_addr()?.port());
        socket.send(&flight.asks(query)).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if query.is_answered_by(&buffer[..length], flight.id()) {
                return Ok(answers(query, &buffer[..length]));
            }
        }
    }

    async fn ask_tcp(&self, server: SocketAddr, query: &Query<'_>) -> io::Result<Vec<u8>> {
        let mut stream = timeout(EACH, TcpStream::connect(server)).await??;
        stream.set_nodelay(true)?;
        let flight = self.flights.enter(stream.local_addr()?.port());
        stream.write_all(&framed(&flight.asks(query))).await?;
        loop {
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            if query.is_answered_by(&answer, flight.id()) {
                return Ok(answers(query, &answer));
            }
        }
    }
}

/// With its length before it, as messages stand in a TCP stream (RFC 1035 §4.2.2).
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let message = &message[..usize::from(length)];
    [&length.to_be_bytes(), message].concat()
}

/// An answer under the id that the asker gave.
fn answers(query: &Query<'_>, answer: &[u8]) -> Vec<u8> {
    [&query.id(), &answer[2..]].concat()
}

/// Whether another nameserver may know better.
fn is_poor(answer: &[u8]) -> bool {
    let code = packet::code(answer);
    answer.len() < HEADER
        || [Code::ServerFailure, Code::NotImplemented, Code::Refused].iter().any(|poor| code == *poor as u8)
}

fn is_same(server: SocketAddr, own: SocketAddr) -> bool {
    server.port() == own.port() && (server.ip() == own.ip() || own.ip().is_unspecified() && server.ip().is_loopback())
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashSet<Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, port: u16) -> Flight {
        let key = (port, rand::random());
        self.lock().insert(key);
        Flight(self.clone(), key)
    }
}

impl Flight {
    fn id(&self) -> [u8; 2] {
        self.1.1
    }

    /// The question under an id of its own.
    fn asks(&self, query: &Query<'_>) -> Vec<u8> {
        [&self.id(), &query.bytes[2..]].concat()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}
