//! Totals by series, with Istio's names of labels.

use std::collections::HashMap;

use api::latency;
use api::weft::v1 as wire;

use crate::edge::Delta;
use crate::intake::{Reporter, Told};

/// What makes a series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    pub reporter: &'static str,
    pub source_workload: String,
    pub source_workload_namespace: String,
    pub source_canonical_service: String,
    pub destination_workload: String,
    pub destination_workload_namespace: String,
    pub destination_canonical_service: String,
    pub destination_service: String,
    pub destination_service_name: String,
    pub destination_service_namespace: String,
    pub request_protocol: &'static str,
    pub response_code: u32,
    pub grpc_response_status: Option<u32>,
    pub response_flags: String,
    pub mutual_tls: bool,
}

/// Since the ledger began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests, or connections of TCP.
    pub requests: u64,
    pub denied: u64,
    pub received: u64,
    pub sent: u64,
    /// By bucket of `api::latency`, in its order.
    pub latency: Vec<(u8, u64)>,
}

/// All series at one moment.
pub struct Batch {
    /// Unix milliseconds.
    pub since: u64,
    pub now: u64,
    pub series: Vec<(Labels, Totals)>,
}

pub struct Ledger {
    since: u64,
    series: HashMap<Labels, Totals>,
    dropped: u64,
}

/// Series beyond this number are not kept.
const MAX_SERIES: usize = 50_000;

impl Ledger {
    pub fn new(since: u64) -> Self {
        Self { since, series: HashMap::new(), dropped: 0 }
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn add(&mut self, reporter: &Reporter, told: &Told, delta: &Delta) {
        let labels = labels(reporter, told);
        if !self.series.contains_key(&labels) && self.series.len() >= MAX_SERIES {
            self.dropped += 1;
            return;
        }
        self.series.entry(labels).or_default().add(delta);
    }

    pub fn batch(&self, now: u64) -> Batch {
        let mut series: Vec<_> = self.series.iter().map(|(labels, totals)| (labels.clone(), totals.clone())).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Batch { since: self.since, now, series }
    }
}

impl Totals {
    fn add(&mut self, delta: &Delta) {
        self.requests += delta.requests;
        self.denied += delta.denied;
        self.received += delta.received;
        self.sent += delta.sent;
        for (bucket, count) in &delta.latency {
            match self.latency.binary_search_by_key(bucket, |(known, _)| *known) {
                Ok(place) => self.latency[place].1 += count,
                Err(place) => self.latency.insert(place, (*bucket, *count)),
            }
        }
    }

    /// What came on top of what was told before.
    pub fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        let in_bucket = |bucket: u8| before.latency.iter().find(|(known, _)| *known == bucket).map_or(0, |(_, n)| *n);
        let latency = self.latency.iter().map(|(bucket, count)| (*bucket, count - in_bucket(*bucket).min(*count)));
        Self {
            requests: self.requests.saturating_sub(before.requests),
            denied: self.denied.saturating_sub(before.denied),
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            latency: latency.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// The milliseconds below which this share of the requests was answered.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut counts = [0.0; latency::BUCKETS];
        for (bucket, count) in &self.latency {
            counts[usize::from(*bucket).min(latency::BUCKETS - 1)] += *count as f64;
        }
        latency::quantile(&counts, share)
    }
}

/// The middle of a bucket, in milliseconds: what a request that fell into it is taken to have lasted.
pub fn middle(bucket: u8) -> f64 {
    let bucket = usize::from(bucket);
    (latency::lower_bound(bucket) + latency::lower_bound(bucket + 1)) as f64 / 2000.0
}

fn labels(reporter: &Reporter, told: &Told) -> Labels {
    let unknown = wire::Workload::default();
    let peer = told.peer.as_deref().unwrap_or(&unknown);
    let by_source = told.by_source();
    let (source, destination) = if by_source { (&reporter.workload, peer) } else { (peer, &reporter.workload) };
    let service = told.service.as_deref().cloned().unwrap_or_default();
    Labels {
        reporter: if by_source { "source" } else { "destination" },
        source_workload: source.name.clone(),
        source_workload_namespace: source.namespace.clone(),
        source_canonical_service: source.canonical_service.clone(),
        destination_workload: destination.name.clone(),
        destination_workload_namespace: destination.namespace.clone(),
        destination_canonical_service: destination.canonical_service.clone(),
        destination_service: service.host,
        destination_service_name: service.name,
        destination_service_namespace: service.namespace,
        request_protocol: match told.protocol {
            wire::Protocol::Tcp => "tcp",
            wire::Protocol::Http => "http",
            wire::Protocol::Grpc => "grpc",
        },
        response_code: told.manner.code.into(),
        grpc_response_status: told.grpc_status,
        response_flags: told.response_flags.to_string(),
        mutual_tls: told.manner.mutual_tls,
    }
}

impl Labels {
    pub fn is_tcp(&self) -> bool {
        self.request_protocol == "tcp"
    }

    /// Names and values; what is not known is left out.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |name: &'static str, value: &str| (name, value.to_owned());
        let http = !self.is_tcp();
        let pairs = [
            text("reporter", self.reporter),
            text("source_workload", &self.source_workload),
            text("source_workload_namespace", &self.source_workload_namespace),
            text("source_canonical_service", &self.source_canonical_service),
            text("destination_workload", &self.destination_workload),
            text("destination_workload_namespace", &self.destination_workload_namespace),
            text("destination_canonical_service", &self.destination_canonical_service),
            text("destination_service", &self.destination_service),
            text("destination_service_name", &self.destination_service_name),
            text("destination_service_namespace", &self.destination_service_namespace),
            text("request_protocol", self.request_protocol),
            ("response_code", if http { self.response_code.to_string() } else { String::new() }),
            ("grpc_response_status", self.grpc_response_status.map(|status| status.to_string()).unwrap_or_default()),
            text("response_flags", &self.response_flags),
            text("connection_security_policy", if self.mutual_tls { "mutual_tls" } else { "none" }),
        ];
        pairs.into_iter().filter(|(_, value)| !value.is_empty())
    }
}
