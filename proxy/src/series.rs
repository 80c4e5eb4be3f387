//! Finds the counters of a request without writing out its labels: by the identity of the things that the labels
//! describe. The labels are written once, when the combination is first seen.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::access_log::ResponseFlags;
use crate::config::{ServiceRef, WorkloadRef};
use crate::stats::{Reporter, RequestLabels, RequestSeries, Shape, Shard, TcpLabels, TcpSeries};

/// Both ends of a call.
#[derive(Clone)]
pub struct Ends {
    pub reporter: Reporter,
    pub source: Option<Arc<WorkloadRef>>,
    pub source_principal: Option<Arc<str>>,
    pub destination: Option<Arc<WorkloadRef>>,
    pub destination_principal: Option<Arc<str>>,
    pub service: Option<Arc<ServiceRef>>,
    pub mutual_tls: bool,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ended {
    pub flags: ResponseFlags,
    pub code: u16,
    pub grpc: bool,
    pub grpc_status: Option<u32>,
    /// Whether it came to a host of its cluster.
    pub reached: bool,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    ends: [usize; 5],
    reporter: Reporter,
    mutual_tls: bool,
    ended: Ended,
    shape: Option<Shape>,
}

/// The cache of one worker.
pub struct SeriesCache {
    shard: Arc<Shard>,
    /// The ends are kept, so that no other thing can come to lie at the same address.
    requests: RefCell<HashMap<Key, (Ends, Arc<RequestSeries>), foldhash::fast::RandomState>>,
    principals: RefCell<HashSet<Arc<str>>>,
    /// Services that were meant by requests which came to no cluster, by host.
    meant: RefCell<HashMap<String, Arc<ServiceRef>>>,
}

const MAX_CACHED: usize = 4096;

fn address<T: ?Sized>(thing: &Option<Arc<T>>) -> usize {
    thing.as_ref().map_or(0, |thing| Arc::as_ptr(thing).cast::<u8>() as usize)
}

impl SeriesCache {
    pub fn new(shard: Arc<Shard>) -> Self {
        Self { shard, requests: RefCell::default(), principals: RefCell::default(), meant: RefCell::default() }
    }

    /// The same text as long as it is kept, so that a client is known again when it comes back on another connection.
    pub fn principal(&self, principal: Arc<str>) -> Arc<str> {
        let mut known = self.principals.borrow_mut();
        if let Some(known) = known.get(&principal) {
            return Arc::clone(known);
        }
        if known.len() >= MAX_CACHED {
            known.clear();
        }
        known.insert(Arc::clone(&principal));
        principal
    }

    /// The service of a host that the configuration names (Istio `<name>.<namespace>.svc.<domain>`, or any other).
    pub fn service(&self, host: &str) -> Arc<ServiceRef> {
        let mut known = self.meant.borrow_mut();
        if let Some(known) = known.get(host) {
            return Arc::clone(known);
        }
        if known.len() >= MAX_CACHED {
            known.clear();
        }
        let mut labels = host.splitn(4, '.');
        let (name, namespace) = match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) => (name, namespace),
            _ => (host, ""),
        };
        let service = ServiceRef { host: host.to_owned(), name: name.to_owned(), namespace: namespace.to_owned() };
        let service = Arc::new(service);
        known.insert(host.to_owned(), Arc::clone(&service));
        service
    }

    pub fn request(&self, ends: &Ends, ended: Ended, shape: Option<Shape>) -> Arc<RequestSeries> {
        let key = Key {
            ends: [
                address(&ends.source),
                address(&ends.source_principal),
                address(&ends.destination),
                address(&ends.destination_principal),
                address(&ends.service),
            ],
            reporter: ends.reporter,
            mutual_tls: ends.mutual_tls,
            ended,
            shape,
        };
        if let Some((_, series)) = self.requests.borrow().get(&key) {
            return Arc::clone(series);
        }
        let flags = ended.flags.to_string();
        let labels = RequestLabels {
            ends: labels(ends, &flags, ended.reached),
            protocol: if ended.grpc { "grpc" } else { "http" },
            response_code: ended.code,
            grpc_status: ended.grpc_status,
        };
        let series = self.shard.requests(&labels, key.shape.as_ref());
        let mut cache = self.requests.borrow_mut();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(key, (ends.clone(), Arc::clone(&series)));
        series
    }

    /// TCP connections are rare enough to write the labels each time.
    pub fn connection(&self, ends: &Ends, flags: ResponseFlags, reached: bool, shape: Option<Shape>) -> Arc<TcpSeries> {
        self.shard.connections(&labels(ends, &flags.to_string(), reached), shape.as_ref())
    }
}

/// The host in the name that Istio gives a cluster: `outbound|9080|v1|reviews.default.svc.cluster.local`.
pub fn host_of_cluster(name: &str) -> Option<&str> {
    let mut parts = name.split('|');
    let (direction, host) = (parts.next()?, parts.nth(2)?);
    (direction == "outbound" && !host.is_empty()).then_some(host)
}

/// The host in the name that Istio gives a virtual host: `reviews.default.svc.cluster.local:9080`.
pub fn host_of_virtual_host(name: &str) -> Option<&str> {
    let (host, port) = name.rsplit_once(':')?;
    let named = host.contains('.') && !host.contains(['*', '|', ':']);
    (named && port.parse::<u16>().is_ok()).then_some(host)
}

fn labels<'a>(ends: &'a Ends, flags: &'a str, reached: bool) -> TcpLabels<'a> {
    TcpLabels {
        reporter: ends.reporter,
        source: ends.source.as_deref(),
        source_principal: ends.source_principal.as_deref().unwrap_or_default(),
        destination: ends.destination.as_deref(),
        destination_principal: ends.destination_principal.as_deref().unwrap_or_default(),
        service: ends.service.as_deref(),
        response_flags: flags,
        mutual_tls: ends.mutual_tls,
        reached,
    }
}

#[cfg(test)]
mod tests {
    use super::{host_of_cluster, host_of_virtual_host};

    #[test]
    fn the_host_that_was_meant_is_read_from_the_names_of_the_configuration() {
        let host = Some("reviews.default.svc.cluster.local");
        assert_eq!(host_of_cluster("outbound|9080|v1|reviews.default.svc.cluster.local"), host);
        assert_eq!(host_of_virtual_host("reviews.default.svc.cluster.local:9080"), host);
        assert_eq!(["inbound|9080||", "PassthroughCluster", "outbound|1"].map(host_of_cluster), [None; 3]);
        let others = ["allow_any", "*:80", "*.example.com:80", "inbound|http|9080", "backend:80", "a.b:c", "[::1]:80"];
        assert_eq!(others.map(host_of_virtual_host), [None; 7]);
    }
}
