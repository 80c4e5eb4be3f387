//! Live requests for those who look: which proxies show what, and who gets to see it. Nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::tap::TapMatch;
use api::weft::v1 as wire;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use utoipa::ToSchema;

use crate::graph::namespace;
use crate::intake::Reporter;
use crate::names::{Names, UNKNOWN};

/// As many look at a time.
const MAX_TAPS: usize = 32;
/// Requests that wait to be read.
const QUEUE: usize = 256;
const MOST_A_SECOND: u32 = 50;

/// What somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct TapQuery {
    /// The id of a proxy, or the name of its workload.
    pub proxy: Option<String>,
    /// Nodes in the graph.
    pub source: Option<String>,
    pub destination: Option<String>,
    pub matches: TapMatch,
    /// Of each worker of a proxy.
    pub per_second: u32,
    /// Only what proxies of these namespaces carry; all without any.
    pub namespaces: Vec<String>,
}

/// A request as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TappedView {
    /// When it came, in Unix milliseconds.
    pub at: u64,
    pub proxy: String,
    /// Whose side shows it: `source` or `destination`.
    pub reporter: &'static str,
    pub source: String,
    pub destination: String,
    pub method: String,
    pub path: String,
    pub authority: String,
    /// Null: there was no answer.
    pub status: Option<u16>,
    pub duration_ms: f64,
    /// Envoy's response flags.
    pub flags: String,
    pub mtls: bool,
    pub principal: String,
    pub route: String,
    pub cluster: String,
    /// Without what is secret.
    pub headers: BTreeMap<String, String>,
}

pub(crate) type Orders = Arc<Vec<Arc<Order>>>;

pub(crate) struct Order {
    id: u32,
    query: TapQuery,
    sink: mpsc::Sender<TappedView>,
}

/// All who look.
#[derive(Clone, Default)]
pub struct Taps {
    orders: watch::Sender<Orders>,
    next: Arc<AtomicU32>,
}

/// Requests as they come; proxies are told to stop when this is dropped.
pub struct TapStream {
    id: u32,
    orders: watch::Sender<Orders>,
    requests: mpsc::Receiver<TappedView>,
}

impl TapStream {
    pub async fn next(&mut self) -> Option<TappedView> {
        self.requests.recv().await
    }
}

impl Drop for TapStream {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| {
            *orders = Arc::new(orders.iter().filter(|order| order.id != self.id).cloned().collect());
        });
    }
}

impl Taps {
    /// Begins to look; `None` if too many do.
    pub fn open(&self, query: TapQuery) -> Option<TapStream> {
        if self.orders.borrow().len() >= MAX_TAPS {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sink, requests) = mpsc::channel(QUEUE);
        let order = Arc::new(Order { id, query, sink });
        self.orders.send_modify(|orders| *orders = Arc::new(orders.iter().cloned().chain([order]).collect()));
        Some(TapStream { id, orders: self.orders.clone(), requests })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.orders.borrow().is_empty()
    }

    /// Told whenever who looks at what changes.
    pub(crate) fn changes(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    /// What a proxy is to show.
    pub fn wished(&self, reporter: &Reporter, node: &str) -> Vec<wire::Tap> {
        let orders = self.orders.borrow().clone();
        let wished = orders.iter().filter(|order| order.query.concerns(reporter, node));
        let tap = |order: &Arc<Order>| wire::Tap {
            id: order.id,
            expression: order.query.matches.to_string(),
            per_second: order.query.per_second.clamp(1, MOST_A_SECOND),
        };
        wished.map(tap).collect()
    }

    /// Shows a request to those who wanted to see it.
    pub fn show(&self, tapped: wire::Tapped, reporter: &Reporter, names: &Names) {
        let orders = self.orders.borrow().clone();
        let sees = |order: &&Arc<Order>| order.query.sees(&reporter.workload.namespace);
        let wanted: Vec<_> = orders.iter().filter(|order| tapped.taps.contains(&order.id)).filter(sees).collect();
        if wanted.is_empty() {
            return;
        }
        let view = view(tapped, reporter, names);
        for order in wanted {
            let is = |wished: &Option<String>, id: &str| wished.as_ref().is_none_or(|wished| wished == id);
            if is(&order.query.source, &view.source) && is(&order.query.destination, &view.destination) {
                // Who reads too slowly misses some.
                let _ = order.sink.try_send(view.clone());
            }
        }
    }
}

impl TapQuery {
    /// An edge is shown by the caller's side, where it has one.
    fn concerns(&self, reporter: &Reporter, node: &str) -> bool {
        let by_edge = match (&self.source, &self.destination) {
            (Some(source), _) if source != UNKNOWN && self.sees(namespace(source)) => source == node,
            (_, Some(destination)) => destination == node,
            _ => true,
        };
        let is_it = self.proxy.as_ref().is_none_or(|name| reporter.is_called(name));
        self.sees(&reporter.workload.namespace) && is_it && (by_edge || self.proxy.is_some())
    }

    fn sees(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace)
    }
}

fn view(tapped: wire::Tapped, reporter: &Reporter, names: &Names) -> TappedView {
    let of = |workload: &wire::Workload| names.workload(workload);
    let own = of(&reporter.workload);
    let peer = tapped.peer.as_ref();
    let by_source = tapped.side() == wire::Side::Source;
    let (source, destination) = match by_source {
        true => (own, names.called(tapped.service.as_ref(), peer, of)),
        false => {
            let source = peer.map_or_else(|| UNKNOWN.into(), of);
            (source, names.called(tapped.service.as_ref(), Some(&reporter.workload), of))
        }
    };
    TappedView {
        at: tapped.at,
        proxy: reporter.node.clone(),
        reporter: if by_source { "source" } else { "destination" },
        source: source.to_string(),
        destination: destination.to_string(),
        method: tapped.method,
        path: tapped.path,
        authority: tapped.authority,
        status: u16::try_from(tapped.status).ok().filter(|status| *status != 0),
        duration_ms: tapped.duration_us as f64 / 1000.0,
        flags: tapped.flags,
        mtls: tapped.mutual_tls,
        principal: tapped.principal,
        route: tapped.route,
        cluster: tapped.cluster,
        headers: tapped.headers.into_iter().map(|header| (header.name, header.value)).collect(),
    }
}
