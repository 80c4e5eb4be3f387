//! What a proxy reports, as differences to what it reported before: counts only grow, so that a stream that was cut is
//! made good by the next report.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use api::latency;
use api::prost::Message as _;
use api::weft::v1 as wire;
use xxhash_rust::xxh64::xxh64;

use crate::edge::{Delta, Manner};
use crate::names::{Names, UNKNOWN};
use crate::pool::Pool;
use crate::unplaced::Unplaced;

/// Names that are longer are cut: nobody has such.
const LONGEST_NAME: usize = 253;
/// Series of one proxy beyond this number are not taken.
const MAX_SERIES: usize = 4000;

/// A proxy that was let in, by its certificate and by what it says of itself in the bounds of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Reporter {
    pub node: String,
    pub workload: wire::Workload,
    pub principal: String,
    /// When its counts began, in Unix milliseconds.
    pub started_at: u64,
    pub gateway: bool,
    /// Where its metrics can be had from here.
    pub metrics: Option<SocketAddr>,
    /// Their path there; empty is the usual one.
    pub metrics_path: String,
    /// The member that its certificate names.
    pub member: Option<String>,
    /// The program: `weft/0.1.0`.
    pub version: String,
    /// The operating system, as it calls itself.
    pub os: String,
}

/// Who reported last, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Unix seconds.
    pub at: u64,
    pub version: String,
    pub os: String,
}

impl Reporter {
    /// By its id in discovery, whole or in short, or by its workload.
    pub fn is_called(&self, name: &str) -> bool {
        let wire::Workload { name: workload, namespace, .. } = &self.workload;
        name == self.node || name == workload || name.strip_prefix(workload.as_str()) == Some(&format!(".{namespace}"))
    }
}

/// What is known of a proxy's counts.
#[derive(Debug)]
pub struct Proxy {
    pub reporter: Reporter,
    /// In Unix milliseconds.
    pub last_report: u64,
    /// Of how much of the past its reports told, in Unix milliseconds: as much as the last report, or less after a stall.
    pub told_until: u64,
    is_late: bool,
    pub series: HashMap<u64, Series>,
    /// What is known from before a restart, of series that were not opened since.
    pub remembered: HashMap<u64, Last>,
    /// Of which catalog the nodes of its series are.
    pub resolved: u64,
    /// Series that were not taken.
    pub refused: u64,
}

/// One of its series.
#[derive(Debug)]
pub struct Series {
    pub told: Told,
    pub last: Last,
    pub edge: Arc<EdgeKey>,
}

/// What a series is of. There are several to each edge, and most of what they name is the same.
#[derive(Debug)]
pub struct Told {
    pub side: wire::Side,
    pub peer: Option<Arc<wire::Workload>>,
    pub peer_principal: Arc<str>,
    pub service: Option<Arc<wire::Service>>,
    pub protocol: wire::Protocol,
    pub grpc_status: Option<u32>,
    pub response_flags: Arc<str>,
    pub manner: Manner,
}

/// What series of all proxies name.
#[derive(Debug, Default)]
pub struct Pools {
    workloads: Pool<wire::Workload>,
    services: Pool<wire::Service>,
    pub texts: Pool<str>,
    pub edges: Pool<EdgeKey>,
    pub unplaced: Unplaced,
}

impl Pools {
    pub fn tidy(&mut self) {
        self.edges.tidy();
        self.workloads.tidy();
        self.services.tidy();
        self.texts.tidy();
    }
}

/// What was last told of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    pub total: u64,
    pub denied: u64,
    pub received: u64,
    pub sent: u64,
    pub latency: Vec<(u8, u64)>,
}

/// Who calls whom, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    pub source: Arc<str>,
    pub destination: Arc<str>,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Http,
    Grpc,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

impl Proxy {
    pub fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            last_report: 0,
            told_until: 0,
            is_late: false,
            series: HashMap::new(),
            remembered: HashMap::new(),
            resolved: 0,
            refused: 0,
        }
    }

    /// The time that a report covers which comes now. Reports are written at regular pauses. Those that wait while the
    /// control plane stands still come all at once, the first of them late: each is of one pause, after the one before.
    /// The first report of a stream is of all since the last that was taken.
    pub fn covered(&mut self, now: u64, pause: u64, is_first: bool) -> (u64, u64) {
        let from = if self.last_report == 0 { self.reporter.started_at.min(now) } else { self.told_until.min(now) };
        let gap = now.saturating_sub(self.last_report);
        let is_late = gap > pause + pause / 2;
        // Who is late time and again has other pauses.
        let is_of_one_pause = if is_late { !self.is_late } else { gap < pause / 2 };
        let to = if is_first || self.last_report == 0 || !is_of_one_pause { now } else { now.min(from + pause) };
        (self.told_until, self.is_late) = (to, is_late);
        (from, to)
    }

    /// Takes note of a series, and gives it the number by which it is known on every stream.
    pub fn open(&mut self, mut told: wire::Series, names: &Names, pools: &mut Pools) -> Option<u64> {
        told.id = 0;
        cut(&mut told);
        let number = xxh64(&told.encode_to_vec(), 0);
        if !self.series.contains_key(&number) {
            if self.series.len() >= MAX_SERIES {
                self.refused += 1;
                return None;
            }
            let told = Told::of(told, &self.reporter, pools);
            let edge = edge(&told, &self.reporter, names, pools);
            let last = self.remembered.remove(&number).unwrap_or_default();
            self.series.insert(number, Series { told, last, edge });
        }
        Some(number)
    }

    /// Finds the nodes of all series anew, after services came or went.
    pub fn resolve(&mut self, names: &Names, pools: &mut Pools) {
        if self.resolved != names.version {
            self.resolved = names.version;
            for series in self.series.values_mut() {
                series.edge = edge(&series.told, &self.reporter, names, pools);
            }
        }
    }
}

impl Told {
    fn of(told: wire::Series, reporter: &Reporter, pools: &mut Pools) -> Self {
        let (side, protocol) = (told.side(), told.protocol());
        let own = reporter.workload.canonical_revision.as_str();
        let others = told.peer.as_ref().map_or("", |peer| peer.canonical_revision.as_str());
        let (from, version) = if side == wire::Side::Source { (own, others) } else { (others, own) };
        let manner = Manner {
            code: u16::try_from(told.response_code).unwrap_or_default(),
            error: is_error(&told),
            // Who is called knows how the call came, whatever became of it.
            reached: !told.unreached || side == wire::Side::Destination,
            mutual_tls: told.mutual_tls,
            version: pools.texts.one(version),
            from: pools.texts.one(from),
        };
        Self {
            side,
            peer: told.peer.map(|peer| pools.workloads.one(peer)),
            peer_principal: pools.texts.one(told.peer_principal),
            service: told.service.map(|service| pools.services.one(service)),
            protocol,
            grpc_status: told.grpc_status,
            response_flags: pools.texts.one(told.response_flags),
            manner,
        }
    }

    pub fn by_source(&self) -> bool {
        self.side == wire::Side::Source
    }
}

fn cut(told: &mut wire::Series) {
    let workload = told.peer.iter_mut().flat_map(|peer| {
        let wire::Workload { name, namespace, canonical_service, canonical_revision, cluster } = peer;
        [name, namespace, canonical_service, canonical_revision, cluster]
    });
    let service = told.service.iter_mut().flat_map(|service| {
        let wire::Service { host, name, namespace } = service;
        [host, name, namespace]
    });
    for text in workload.chain(service).chain([&mut told.response_flags]) {
        if text.len() > LONGEST_NAME {
            let end = (0..=LONGEST_NAME).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
        }
    }
    told.peer_principal.truncate(if told.peer_principal.len() > 2048 { 0 } else { 2048 });
}

fn edge(told: &Told, reporter: &Reporter, names: &Names, pools: &mut Pools) -> Arc<EdgeKey> {
    let protocol = match told.protocol {
        wire::Protocol::Tcp => Protocol::Tcp,
        wire::Protocol::Http => Protocol::Http,
        wire::Protocol::Grpc => Protocol::Grpc,
    };
    let (service, peer) = (told.service.as_deref(), told.peer.as_deref());
    let own = pools.unplaced.own(&reporter.workload, names);
    let mut of = |workload: &wire::Workload| pools.unplaced.peer(workload, names);
    let (source, destination) = match told.side {
        wire::Side::Source => (own, names.called(service, peer, of)),
        wire::Side::Destination => {
            let source = peer.map_or_else(|| UNKNOWN.into(), &mut of);
            (source, names.called(service, Some(&reporter.workload), |_| own))
        }
    };
    let [source, destination] = [source, destination].map(|id| pools.texts.one(id));
    pools.edges.one(EdgeKey { source, destination, protocol })
}

/// Whether the one who was called, or the way there, is to blame (OpenTelemetry, semantic conventions of HTTP and RPC
/// servers); a client that leaves is no error.
fn is_error(told: &wire::Series) -> bool {
    match told.protocol() {
        wire::Protocol::Grpc => match told.grpc_status {
            Some(status) => matches!(status, 2 | 4 | 12..=15),
            None => told.response_code >= 500 || told.response_code == 200,
        },
        wire::Protocol::Http => told.response_code >= 500,
        wire::Protocol::Tcp => {
            let mut flags = told.response_flags.split(',');
            flags.any(|flag| ["UF", "UH", "URX", "NC", "NR", "UO", "DF"].contains(&flag))
        }
    }
}

impl Last {
    /// What came on top of what was told before.
    pub fn advance(&mut self, counts: &wire::Counts) -> Delta {
        let grown = |last: &mut u64, now: u64| {
            let more = now.saturating_sub(*last);
            *last = now.max(*last);
            more
        };
        let mut delta = Delta {
            requests: grown(&mut self.total, counts.total),
            denied: grown(&mut self.denied, counts.denied),
            received: grown(&mut self.received, counts.received_bytes),
            sent: grown(&mut self.sent, counts.sent_bytes),
            latency: Vec::new(),
        };
        for (bucket, count) in counts.buckets.iter().zip(&counts.in_buckets) {
            let bucket = u8::try_from(*bucket).unwrap_or(u8::MAX).min(latency::BUCKETS as u8 - 1);
            let place = self.latency.iter().position(|(known, _)| *known == bucket).unwrap_or_else(|| {
                self.latency.reserve_exact(1);
                self.latency.push((bucket, 0));
                self.latency.len() - 1
            });
            let more = grown(&mut self.latency[place].1, *count);
            if more > 0 {
                delta.latency.push((bucket, more));
            }
        }
        delta
    }
}
