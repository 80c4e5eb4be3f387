//! What reports to the control plane say of the traffic: the series of all workers together, under ids of one stream,
//! and of those only what changed.

use std::collections::HashMap;

use api::latency;
use api::weft::v1 as wire;

use super::istio::{Entry, Key, RequestLabels, RequestSeries, TcpLabels, TcpSeries};
use super::{Reporter, Stats};
use crate::config::{ServiceRef, WorkloadRef};

/// Who called whom, and how it ended; kept from when the series began.
#[derive(Clone, Debug)]
pub struct Told(wire::Series);

impl Told {
    pub(super) fn new(ends: &TcpLabels<'_>, request: Option<&RequestLabels<'_>>) -> Self {
        let (side, peer, principal) = match ends.reporter {
            Reporter::Source => (wire::Side::Source, ends.destination, ends.destination_principal),
            Reporter::Destination => (wire::Side::Destination, ends.source, ends.source_principal),
        };
        let protocol = match request.map(|request| request.protocol) {
            None => wire::Protocol::Tcp,
            Some("grpc") => wire::Protocol::Grpc,
            Some(_) => wire::Protocol::Http,
        };
        Self(wire::Series {
            id: 0,
            side: side.into(),
            peer: peer.map(workload),
            peer_principal: principal.to_owned(),
            service: ends.service.map(service),
            protocol: protocol.into(),
            response_code: request.map_or(0, |request| request.response_code.into()),
            grpc_status: request.and_then(|request| request.grpc_status),
            response_flags: ends.response_flags.trim_matches('-').to_owned(),
            mutual_tls: ends.mutual_tls,
            unreached: !ends.reached,
        })
    }
}

/// A workload as reports name it.
pub fn workload(of: &WorkloadRef) -> wire::Workload {
    wire::Workload {
        name: of.name.clone(),
        namespace: of.namespace.clone(),
        canonical_service: of.canonical_service.clone(),
        canonical_revision: of.canonical_revision.clone(),
        cluster: of.cluster.clone(),
    }
}

pub fn service(of: &ServiceRef) -> wire::Service {
    wire::Service { host: of.host.clone(), name: of.name.clone(), namespace: of.namespace.clone() }
}

/// The sums over all workers.
#[derive(Clone, PartialEq)]
pub struct Counts {
    total: u64,
    denied: u64,
    received_bytes: u64,
    sent_bytes: u64,
    latency: [u64; latency::BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Self { total: 0, denied: 0, received_bytes: 0, sent_bytes: 0, latency: [0; latency::BUCKETS] }
    }
}

impl Counts {
    fn add_requests(&mut self, series: &RequestSeries) {
        self.total += series.total.get();
        self.denied += series.denied.get();
        self.received_bytes += series.request_bytes.sum();
        self.sent_bytes += series.response_bytes.sum();
        series.latency.add_to(&mut self.latency);
    }

    fn add_connections(&mut self, series: &TcpSeries) {
        self.total += series.opened.get();
        self.received_bytes += series.received_bytes.get();
        self.sent_bytes += series.sent_bytes.get();
    }

    fn wire(&self, id: u32) -> wire::Counts {
        let in_use = || self.latency.iter().enumerate().filter(|(_, count)| **count > 0);
        wire::Counts {
            id,
            total: self.total,
            denied: self.denied,
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            buckets: in_use().map(|(bucket, _)| bucket as u32).collect(),
            in_buckets: in_use().map(|(_, count)| *count).collect(),
        }
    }
}

/// What one stream was told so far.
#[derive(Default)]
pub struct Collector(HashMap<Key, Known>);

struct Known {
    id: u32,
    sent: Counts,
    now: Counts,
}

impl Collector {
    /// The report of what changed since the last one.
    pub fn collect(&mut self, stats: &Stats) -> wire::ReportRequest {
        let mut opened = Vec::new();
        self.0.values_mut().for_each(|known| known.now = Counts::default());
        for shard in stats.lock().clone() {
            let known = std::cell::RefCell::new((&mut self.0, &mut opened));
            let requests = |key: &Key, entry: &Entry<RequestSeries>| {
                let (known, opened) = &mut *known.borrow_mut();
                if let Some(counts) = find(known, opened, key, entry.told.as_ref()) {
                    counts.add_requests(&entry.series);
                }
            };
            let connections = |key: &Key, entry: &Entry<TcpSeries>| {
                let (known, opened) = &mut *known.borrow_mut();
                if let Some(counts) = find(known, opened, key, entry.told.as_ref()) {
                    counts.add_connections(&entry.series);
                }
            };
            shard.istio.visit(requests, connections);
        }
        let changed = self.0.values_mut().filter(|known| known.now != known.sent);
        let counts = changed.map(|known| {
            known.sent.clone_from(&known.now);
            known.now.wire(known.id)
        });
        wire::ReportRequest { counts: counts.collect(), opened, ..Default::default() }
    }
}

/// Where a series is summed; it is given an id when it is first seen.
fn find<'a>(
    known: &'a mut HashMap<Key, Known>,
    opened: &mut Vec<wire::Series>,
    key: &Key,
    told: Option<&Told>,
) -> Option<&'a mut Counts> {
    let told = told?;
    if !known.contains_key(key) {
        let id = known.len() as u32;
        opened.push(wire::Series { id, ..told.0.clone() });
        known.insert(key.clone(), Known { id, sent: Counts::default(), now: Counts::default() });
    }
    known.get_mut(key).map(|known| &mut known.now)
}
