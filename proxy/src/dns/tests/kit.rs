//! An asker with a server of its own, and nameservers.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use super::*;
use crate::config::{Name, NameTable, Snapshot};

/// The kind, and a deadline that a machine under load keeps.
const LONG: Duration = Duration::from_secs(30);

pub fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [&[id, flags][..], &counts].concat().into_iter().flat_map(u16::to_be_bytes).collect()
}

pub fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = header(id, 0x0100, [1, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

pub fn with_edns(question: &[u8], size: u16, version: u8) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[11] = 1;
    bytes.extend([0, 0, 41]);
    bytes.extend(size.to_be_bytes());
    bytes.extend([0, version, 0, 0, 0, 0]);
    bytes
}

pub fn name(ips: &[&str]) -> Name {
    let mut name = Name::default();
    for ip in ips {
        match ip.parse().unwrap() {
            IpAddr::V4(ip) => name.v4.push(ip),
            IpAddr::V6(ip) => name.v6.push(ip),
        }
    }
    name
}

/// Of the namespace shop.
pub fn short(short: &str, ips: &[&str]) -> Name {
    Name { short: Some((short.to_owned(), "shop".to_owned())), ..name(ips) }
}

/// What a workload of the namespace shop is told.
pub fn table() -> NameTable {
    let other = Name { short: Some(("ratings".to_owned(), "other".to_owned())), ..name(&["10.0.0.2"]) };
    let foreign = Name { short: Some(("foreign".to_owned(), "shop".to_owned())), ..name(&["10.0.0.8"]) };
    let names = [
        ("reviews.shop.svc.cluster.local", short("reviews", &["10.0.0.1", "2001:db8::1"])),
        ("reviews.service.consul", name(&["10.0.0.1", "2001:db8::1"])),
        ("ratings.other.svc.cluster.local", other),
        ("foreign.shop.svc.other.local", foreign),
        ("empty.shop.svc.cluster.local", short("empty", &[])),
        ("api.example.com", name(&["240.240.0.1"])),
        ("*.wild.example.com", name(&["10.0.0.3"])),
        ("*.deep.wild.example.com", name(&["10.0.0.4"])),
    ];
    NameTable { names: names.map(|(host, name)| (host.to_owned(), name)).into_iter().collect::<BTreeMap<_, _>>() }
}

pub fn settings(upstreams: Vec<SocketAddr>) -> DnsSettings {
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    DnsSettings { listen, also: None, upstreams, resolv_conf: PathBuf::from("/nonexistent") }
}

pub struct Asker {
    pub server: SocketAddr,
    pub counters: Arc<Counters>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    _directory: tempfile::TempDir,
}

impl Asker {
    pub async fn start(upstream: &Nameserver, names: Option<NameTable>) -> Self {
        Self::of(vec![upstream.address], names).await
    }

    /// The server's search domains are corp.example and lab.example.
    pub async fn of(upstreams: Vec<SocketAddr>, names: Option<NameTable>) -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "search corp.example lab.example\n").unwrap();
        let settings = DnsSettings { resolv_conf, ..settings(upstreams) };
        let server = Server::bind(&settings, "shop", "cluster.local").await.unwrap();
        Self::run(server, names, directory).await
    }

    /// One whose only nameserver is itself.
    pub async fn asking_itself() -> Self {
        let free = free_for_both(Ipv4Addr::LOCALHOST.into());
        Self::at(&DnsSettings { listen: free, ..settings(vec![free]) }, Some(table())).await
    }

    pub async fn at(settings: &DnsSettings, names: Option<NameTable>) -> Self {
        let server = Server::bind(settings, "shop", "cluster.local").await.unwrap();
        Self::run(server, names, tempfile::TempDir::new().unwrap()).await
    }

    async fn run(server: Server, names: Option<NameTable>, directory: tempfile::TempDir) -> Self {
        let snapshot = |names| Arc::new(Snapshot { names, ..Snapshot::default() });
        let (snapshots, follow) = watch::channel(snapshot(names.map(Arc::new)));
        let (address, counters) = (server.address(), server.counters());
        tokio::spawn(server.serve(follow));
        Self { server: address, counters, snapshots, _directory: directory }
    }

    /// The same, asked at another address.
    pub fn asking(self, server: SocketAddr) -> Self {
        Self { server, ..self }
    }

    pub fn put(&self, names: NameTable) {
        self.snapshots.send_replace(Arc::new(Snapshot { names: Some(Arc::new(names)), ..Snapshot::default() }));
    }

    pub async fn udp(&self, asked: &[u8]) -> Vec<u8> {
        let any = if self.server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).await.unwrap();
        socket.connect(self.server).await.unwrap();
        socket.send(asked).await.unwrap();
        let mut buffer = vec![0; 65535];
        let length = timeout(LONG, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
        buffer[..length].to_vec()
    }

    pub async fn tcp(&self, asked: &[u8]) -> Vec<u8> {
        self.tcp_many(&[asked.to_vec()]).await.remove(0)
    }

    /// Asks all at once, on one connection.
    pub async fn tcp_many(&self, questions: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(self.server).await.unwrap();
        let all: Vec<u8> = questions.iter().flat_map(|asked| super::super::upstream::framed(asked)).collect();
        stream.write_all(&all).await.unwrap();
        let mut answers = Vec::new();
        for _ in questions {
            answers.push(timeout(LONG, receive(&mut stream)).await.expect("an answer").unwrap());
        }
        answers
    }

    pub async fn addresses(&self, name: &str, kind: u16) -> Vec<String> {
        let answer = self.udp(&question(7, name, kind)).await;
        assert_eq!(answer[3] & 0x0f, 0, "{name} exists");
        let records = packet::records(&answer).unwrap();
        let of_kind = records.iter().filter(|record| record.kind == kind);
        of_kind.map(|record| ip(&answer[record.data.clone()])).collect()
    }
}

fn ip(data: &[u8]) -> String {
    match data.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
    }
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// The question's own bytes, called an answer, and some more that no server would send.
    Echo,
    NoSuchName,
    /// The same, with who says so and for how long.
    NoSuchNameHere,
    Failure,
    Address {
        ttl: u32,
    },
    /// Answers to other questions first, and under other ids.
    AfterForgeries,
}

impl Reply {
    pub fn to(self, asked: &[u8]) -> Vec<u8> {
        let mut answer = asked.to_vec();
        answer[2] |= 0x80;
        match self {
            Self::Echo | Self::AfterForgeries => answer.extend(b"\x01\x02 as it came"),
            Self::NoSuchName => answer[3] |= 3,
            Self::NoSuchNameHere => {
                answer[3] |= 3;
                answer[9] = 1;
                // Of the root: two names, which are the root, and five numbers.
                answer.extend([&[0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0][..], &[0, 0, 0, 60].repeat(5)].concat());
            }
            Self::Failure => answer[3] |= 2,
            Self::Address { ttl } => {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1]);
                answer.extend(ttl.to_be_bytes());
                answer.extend([0, 4, 192, 0, 2, 1]);
            }
        }
        answer
    }

    fn all_to(self, asked: &[u8]) -> Vec<Vec<u8>> {
        let answer = self.to(asked);
        if !matches!(self, Self::AfterForgeries) {
            return vec![answer];
        }
        // Byte by byte: the id, that it is an answer, the name, the kind.
        let forged = [0, 1, 2, 14, asked.len() - 3].map(|at| {
            let mut forged = answer.clone();
            forged[at] ^= 0x80;
            forged.extend(b"forged");
            forged
        });
        forged.into_iter().chain([vec![0; 3], answer]).collect()
    }
}

/// An address that is free for TCP, and that nobody has for UDP at this moment.
pub fn free_for_both(address: IpAddr) -> SocketAddr {
    iter::repeat_with(|| free_at(address)).find(|free| std::net::UdpSocket::bind(free).is_ok()).unwrap()
}

/// Answers everything in one way.
pub struct Nameserver {
    pub address: SocketAddr,
    ids: Arc<Mutex<Vec<[u8; 2]>>>,
}

impl Nameserver {
    pub async fn start(reply: Reply) -> Self {
        let address = free_for_both(Ipv4Addr::LOCALHOST.into());
        let (tcp, udp) = (TcpListener::bind(address).await.unwrap(), UdpSocket::bind(address).await.unwrap());
        let ids = Arc::new(Mutex::new(Vec::new()));
        let (seen, seen_too) = (Arc::clone(&ids), Arc::clone(&ids));
        tokio::spawn(async move {
            let mut buffer = vec![0; 65535];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                seen.lock().unwrap().push([buffer[0], buffer[1]]);
                for answer in reply.all_to(&buffer[..length]) {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(asked) = receive(&mut stream).await {
                    seen_too.lock().unwrap().push([asked[0], asked[1]]);
                    for answer in reply.all_to(&asked) {
                        let framed = super::super::upstream::framed(&answer);
                        stream.write_all(&framed).await.unwrap();
                    }
                }
            }
        });
        Self { address, ids }
    }

    pub fn ids(&self) -> Vec<[u8; 2]> {
        self.ids.lock().unwrap().clone()
    }

    pub fn asked(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}

/// A nameserver that sends each question on from the very port that it came from.
pub struct Mirror {
    pub address: SocketAddr,
    socket: UdpSocket,
}

impl Mirror {
    pub async fn bind() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { address: socket.local_addr().unwrap(), socket }
    }

    /// Another address of loopback with the asker's port stands for the asker, and hands back what it is told.
    pub fn reflect_to(self, server: SocketAddr) {
        tokio::spawn(async move {
            let mut buffer = vec![0; 65535];
            while let Ok((length, from)) = self.socket.recv_from(&mut buffer).await {
                let again = reuse(from.port());
                again.send_to(&buffer[..length], server).await.unwrap();
                let mut answer = vec![0; 65535];
                let length = again.recv(&mut answer).await.unwrap();
                self.socket.send_to(&answer[..length], from).await.unwrap();
            }
        });
    }
}

fn reuse(port: u16) -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 77], port)).into()).unwrap();
    UdpSocket::from_std(socket.into()).unwrap()
}
