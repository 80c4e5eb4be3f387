//! The sockets of the DNS server, and what becomes of a question.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::DnsSettings;
use super::cache::Cache;
use super::counters::Counters;
use super::names::Names;
use super::packet::{self, Addresses, Code, NoQuery, Query, Transport};
use super::upstream::{Upstream, framed};
use crate::config::Snapshot;
use crate::run::ProxyError;

/// Questions that wait for upstream at a time; more are told to come again.
const WAITING: usize = 1024;
const CONNECTIONS: usize = 256;
/// A TCP connection on which nothing is asked for this long is closed (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// A fault of the socket is not met again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that has its sockets.
pub struct Server {
    sockets: Sockets,
    also: Option<Sockets>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What listens at one address.
struct Sockets {
    tcp: TcpListener,
    udp: UdpSocket,
    address: SocketAddr,
}

struct Shared {
    /// `None` until the control plane has told them.
    names: RwLock<Option<Arc<Names>>>,
    /// The workload's own, by which short names are understood.
    namespace: String,
    domain: String,
    upstream: Upstream,
    cache: Cache,
    waiting: Arc<Semaphore>,
    counters: Arc<Counters>,
}

/// What is to be done with a question.
enum Verdict {
    Answer(Vec<u8>),
    Upstream(Known),
}

/// What the mesh knows of a name that upstream is asked about.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    /// Its addresses, so that it exists, whatever upstream has heard of it.
    Addresses,
}

impl Server {
    /// For a workload of this namespace, in a mesh with this domain.
    pub async fn bind(settings: &DnsSettings, namespace: &str, domain: &str) -> Result<Self, ProxyError> {
        let sockets = bound(settings.listen).await?;
        let also = match settings.also {
            Some(place) => Some(bound(place).await?),
            None => None,
        };
        let address = sockets.address;
        let own = std::iter::once(&sockets).chain(&also).map(|sockets| sockets.address).collect();
        let shared = Shared {
            names: RwLock::default(),
            namespace: namespace.to_owned(),
            domain: domain.to_owned(),
            upstream: Upstream::new(settings.clone(), own),
            cache: Cache::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            counters: Arc::default(),
        };
        Ok(Self { sockets, also, address, shared: Arc::new(shared) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers for ever, from the names of the snapshot that is in force.
    pub async fn serve(self, snapshots: watch::Receiver<Arc<Snapshot>>) {
        let shared = &self.shared;
        let serve = async |Sockets { tcp, udp, .. }| {
            tokio::join!(Arc::clone(shared).serve_udp(Arc::new(udp)), Arc::clone(shared).serve_tcp(tcp));
        };
        let serve_also = async {
            if let Some(also) = self.also {
                serve(also).await;
            }
        };
        tokio::join!(Arc::clone(shared).follow(snapshots), serve(self.sockets), serve_also);
    }
}

async fn bound(address: SocketAddr) -> Result<Sockets, ProxyError> {
    try_bound(address).await.map_err(|error| ProxyError::Bind { address, error })
}

/// Both on one port, also where any will do.
async fn try_bound(listen: SocketAddr) -> io::Result<Sockets> {
    const TRIES: usize = 16;
    let mut tried = 0;
    loop {
        let tcp = TcpListener::bind(listen).await?;
        let address = tcp.local_addr()?;
        match UdpSocket::bind(address).await {
            Ok(udp) => return Ok(Sockets { tcp, udp, address }),
            Err(_) if listen.port() == 0 && tried < TRIES => tried += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A datagram that finds no room is lost, as others are; who asked asks again.
fn say(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    let _ = socket.try_send_to(answer, to);
}

impl Shared {
    async fn follow(self: Arc<Self>, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut known = None;
        loop {
            let table = snapshots.borrow_and_update().names.clone();
            if let Some(table) = table
                && known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &table))
            {
                let names = Arc::new(Names::new(&table, &self.namespace, &self.domain));
                *self.names.write().unwrap_or_else(PoisonError::into_inner) = Some(names);
                known = Some(table);
            }
            if snapshots.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut under_way = JoinSet::new();
        loop {
            while under_way.try_join_next().is_some() {}
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let asked = &buffer[..length];
            let Some(query) = self.understood(asked, from, |answer| say(&socket, &answer, from)) else {
                continue;
            };
            match self.judge(&query, Transport::Udp) {
                Verdict::Answer(answer) => say(&socket, &answer, from),
                Verdict::Upstream(known) => self.hand_on(asked.to_vec(), known, from, &socket, &mut under_way),
            }
        }
    }

    /// Asks upstream while other questions are taken.
    fn hand_on(
        self: &Arc<Self>,
        asked: Vec<u8>,
        known: Known,
        from: SocketAddr,
        socket: &Arc<UdpSocket>,
        tasks: &mut JoinSet<()>,
    ) {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        // The address is free again as soon as the server ends, whatever is still under way.
        let (shared, socket) = (Arc::clone(self), Arc::downgrade(socket));
        tasks.spawn(async move {
            let Ok(query) = Query::parse(&asked) else { return };
            let answer = match &place {
                Ok(_) => shared.ask(&query, known, Transport::Udp).await,
                Err(_) => {
                    shared.counters.overflow.up();
                    query.refuse(Code::ServerFailure)
                }
            };
            if let Some(socket) = Weak::upgrade(&socket) {
                say(&socket, &answer, from);
            }
        });
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let shared = Arc::clone(&self);
                    open.spawn(async move {
                        // The connection ends, whoever wanted it to.
                        let _ = shared.converse(stream, from).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Answers one question of a connection after the other.
    async fn converse(&self, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut asked = Vec::new();
            timeout(IDLE, async {
                let length = stream.read_u16().await?;
                asked.resize(usize::from(length), 0);
                stream.read_exact(&mut asked).await
            })
            .await??;
            let mut broken = Vec::new();
            let query = self.understood(&asked, from, |answer| broken = answer);
            let answer = match query {
                Some(query) => match self.judge(&query, Transport::Tcp) {
                    Verdict::Answer(answer) => answer,
                    Verdict::Upstream(known) => self.ask(&query, known, Transport::Tcp).await,
                },
                // Who does not ask has nothing to wait for.
                None if broken.is_empty() => return Ok(()),
                None => broken,
            };
            timeout(IDLE, stream.write_all(&framed(&answer))).await??;
        }
    }

    /// The question, if the bytes are one; else what there is to say is said.
    fn understood<'a>(&self, asked: &'a [u8], from: SocketAddr, say: impl FnOnce(Vec<u8>)) -> Option<Query<'a>> {
        self.counters.requests.up();
        match Query::parse(asked) {
            Ok(query) if self.upstream.is_own(from, &query) => {
                self.counters.looped.up();
                say(query.refuse(Code::ServerFailure));
                None
            }
            Ok(query) => Some(query),
            Err(no_query) => {
                self.counters.malformed.up();
                if let NoQuery::Answer(answer) = no_query {
                    say(answer);
                }
                None
            }
        }
    }

    /// Answers what is the mesh's to answer.
    fn judge(&self, query: &Query<'_>, transport: Transport) -> Verdict {
        let name = match &query.name {
            Some(name) if query.is_standard() && query.class == packet::INTERNET => name,
            _ => return Verdict::Upstream(Known::Nothing),
        };
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(names) = names else {
            // Somebody else would say that there is no such name, and be believed for a while.
            let is_own = name.strip_suffix(self.domain.as_str()).is_some_and(|rest| rest.ends_with(".svc."));
            let failure = || Verdict::Answer(query.refuse(Code::ServerFailure));
            return if is_own { failure() } else { Verdict::Upstream(Known::Nothing) };
        };
        let owner = names.owner(name).filter(|_| query.kind == packet::PTR);
        if let Some(host) = owner {
            self.counters.local.up();
            return Verdict::Answer(of_mesh(query, || query.answer_with_name(host)));
        }
        let conf = self.upstream.conf();
        let Some(found) = names.find(name, conf.search.as_deref()) else { return Verdict::Upstream(Known::Nothing) };
        let addresses = match query.kind {
            packet::A => Addresses::V4(&found.name.v4),
            packet::AAAA => Addresses::V6(&found.name.v6),
            // Of a name that others may know as well, only the addresses are the mesh's.
            _ if !found.is_own => return Verdict::Upstream(Known::Addresses),
            _ => Addresses::None,
        };
        self.counters.local.up();
        Verdict::Answer(of_mesh(query, || query.answer(found.stands_for, &addresses, transport)))
    }

    async fn ask(&self, query: &Query<'_>, known: Known, transport: Transport) -> Vec<u8> {
        let mut answer = self.ask_others(query, transport).await;
        if known == Known::Addresses {
            // Who believes that there is no such name asks for its addresses no more (RFC 8020).
            packet::grant_the_name(&mut answer);
        }
        answer
    }

    async fn ask_others(&self, query: &Query<'_>, transport: Transport) -> Vec<u8> {
        if let Some(answer) = self.cache.find(query, transport, Instant::now()) {
            self.counters.cached.up();
            return answer;
        }
        self.counters.upstream_requests.up();
        match self.upstream.ask(query, transport).await {
            Some(answer) => {
                self.cache.keep(query, transport, &answer, Instant::now());
                answer
            }
            None => {
                self.counters.upstream_failures.up();
                query.refuse(Code::ServerFailure)
            }
        }
    }
}

/// An answer of the mesh's own, to a question that can be read to its end.
fn of_mesh(query: &Query<'_>, answer: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    match (query.is_whole, query.edns) {
        (false, _) => query.refuse(Code::FormatError),
        (true, Some(edns)) if edns.version > 0 => query.refuse_version(),
        (true, _) => answer(),
    }
}
