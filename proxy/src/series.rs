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

#[derive(PartialEq, Eq, Hash)]
struct Key {
    ends: [usize; 5],
    reporter: Reporter,
    mutual_tls: bool,
    flags: ResponseFlags,
    grpc: bool,
    code: u16,
    grpc_status: Option<u32>,
    shape: Option<Shape>,
}

/// The cache of one worker.
pub struct SeriesCache {
    shard: Arc<Shard>,
    /// The ends are kept, so that no other thing can come to lie at the same address.
    requests: RefCell<HashMap<Key, (Ends, Arc<RequestSeries>), foldhash::fast::RandomState>>,
    principals: RefCell<HashSet<Arc<str>>>,
}

const MAX_CACHED: usize = 4096;

fn address<T: ?Sized>(thing: &Option<Arc<T>>) -> usize {
    thing.as_ref().map_or(0, |thing| Arc::as_ptr(thing).cast::<u8>() as usize)
}

impl SeriesCache {
    pub fn new(shard: Arc<Shard>) -> Self {
        Self { shard, requests: RefCell::default(), principals: RefCell::default() }
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

    pub fn request(
        &self,
        ends: &Ends,
        flags: ResponseFlags,
        code: u16,
        grpc: bool,
        grpc_status: Option<u32>,
        shape: Option<Shape>,
    ) -> Arc<RequestSeries> {
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
            flags,
            grpc,
            code,
            grpc_status,
            shape,
        };
        if let Some((_, series)) = self.requests.borrow().get(&key) {
            return Arc::clone(series);
        }
        let flags = flags.to_string();
        let labels = RequestLabels {
            ends: labels(ends, &flags),
            protocol: if grpc { "grpc" } else { "http" },
            response_code: code,
            grpc_status,
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
    pub fn connection(&self, ends: &Ends, flags: ResponseFlags, shape: Option<Shape>) -> Arc<TcpSeries> {
        self.shard.connections(&labels(ends, &flags.to_string()), shape.as_ref())
    }
}

fn labels<'a>(ends: &'a Ends, flags: &'a str) -> TcpLabels<'a> {
    TcpLabels {
        reporter: ends.reporter,
        source: ends.source.as_deref(),
        source_principal: ends.source_principal.as_deref().unwrap_or_default(),
        destination: ends.destination.as_deref(),
        destination_principal: ends.destination_principal.as_deref().unwrap_or_default(),
        service: ends.service.as_deref(),
        response_flags: flags,
        mutual_tls: ends.mutual_tls,
    }
}
