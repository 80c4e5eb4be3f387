//! All that proxies reported, behind one lock: reports are few a second, and views are built from it in one go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::weft::v1 as wire;
use parking_lot::Mutex;
use registry::Catalog;
use runtime::Clock;
use tokio::sync::watch;

use crate::ask::{AskError, Asks};
use crate::edge::{Delta, History, slot_of};
use crate::export::{Exports, Ledger};
use crate::graph::{self, FailingEdge, Graph, GraphQuery};
use crate::intake::{EdgeKey, Last, Pools, Proxy, Reporter, Seen, Told};
use crate::names::{self, Names, UNKNOWN};
use crate::series::{self, SeriesQuery, SeriesView};
use crate::tap::{TapQuery, TapStream, Taps};
use crate::traces::{TraceQuery, TraceSummary, TraceView, Traces};

/// What is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pause between two reports of a proxy.
    pub interval: Duration,
    /// So many proxies report at that pause. The pause of twice as many is twice as long, and so on.
    pub at_full_pace: u32,
    /// Edges beyond this number push out those that were silent for longest.
    pub max_edges: usize,
    pub max_proxies: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), at_full_pace: 500, max_edges: 20_000, max_proxies: 20_000 }
    }
}

/// Cloning shares.
#[derive(Clone)]
pub struct Mixer(Arc<Inner>);

struct Inner {
    options: Options,
    catalog: watch::Receiver<Arc<Catalog>>,
    clock: Clock,
    state: Mutex<State>,
    figures: watch::Sender<u64>,
    taps: Taps,
    asks: Asks,
    exports: Exports,
    /// Held once for each proxy that reports.
    reporting: Arc<()>,
}

/// All of it.
pub struct State {
    pub names: Names,
    pub pools: Pools,
    pub edges: HashMap<Arc<EdgeKey>, Edge>,
    pub proxies: HashMap<String, Proxy>,
    /// Proxies that were known before a restart, and have not reported since.
    pub remembered: HashMap<String, Remembered>,
    /// When this began to take reports, in Unix milliseconds.
    pub began: u64,
    /// The earliest moment of which reports tell.
    pub since: u64,
    /// Edges that were pushed out.
    pub dropped: u64,
    pub traces: Traces,
    /// For sinks elsewhere, while there are any.
    pub ledger: Option<Ledger>,
}

/// What a proxy had told in all.
#[derive(Debug)]
pub struct Remembered {
    pub started_at: u64,
    pub last_report: u64,
    pub series: HashMap<u64, Last>,
}

/// What passed between two nodes, as either side tells.
#[derive(Debug, Default)]
pub struct Edge {
    pub by_source: History,
    pub by_destination: History,
    pub source_principal: Option<Arc<str>>,
    pub destination_principal: Option<Arc<str>>,
}

/// The longest pause between reports, in usual ones.
const SLOWEST: u32 = 6;
/// A proxy is not heard of any more after this many pauses between reports.
const STALE_AFTER: u32 = 3;
/// A proxy whose counts began this long before the first report that was ever taken tells nothing of now by its totals.
const FOREIGN_MS: u64 = 60_000;
/// A proxy that was silent for so long is forgotten.
const TIDY: Duration = Duration::from_secs(60);
const FORGOTTEN_MS: u64 = 24 * 3_600_000;

impl Mixer {
    pub fn new(catalog: watch::Receiver<Arc<Catalog>>, clock: Clock, options: Options) -> Self {
        let began = milliseconds(&clock);
        let state = State {
            names: Names::default(),
            pools: Pools::default(),
            edges: HashMap::new(),
            proxies: HashMap::new(),
            remembered: HashMap::new(),
            began,
            since: u64::MAX,
            dropped: 0,
            traces: Traces::default(),
            ledger: None,
        };
        let figures = watch::Sender::new(0);
        Self(Arc::new(Inner {
            options,
            catalog,
            clock,
            state: Mutex::new(state),
            figures,
            taps: Taps::default(),
            asks: Asks::default(),
            exports: Exports::default(),
            reporting: Arc::default(),
        }))
    }

    /// How often proxies are to report: more seldom where there are many, so that what their reports cost has a bound.
    pub fn interval(&self) -> Duration {
        let reporting = u32::try_from(Arc::strong_count(&self.0.reporting) - 1).unwrap_or(u32::MAX);
        let times = reporting.div_ceil(self.0.options.at_full_pace.max(1)).clamp(1, SLOWEST);
        self.0.options.interval * times
    }

    /// One more proxy reports, until this is dropped.
    pub(crate) fn reports(&self) -> impl Send + use<> {
        Arc::clone(&self.0.reporting)
    }

    /// Now, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        milliseconds(&self.0.clock)
    }

    /// The moment of the newest figures.
    pub fn figures(&self) -> watch::Receiver<u64> {
        self.0.figures.subscribe()
    }

    /// Takes a report of a stream, which knows its series by ids.
    pub fn take(&self, reporter: &Reporter, mut report: wire::ReportRequest, ids: &mut HashMap<u32, u64>) {
        let now = self.now();
        let catalog = self.0.catalog.borrow().clone();
        let pause = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.0.state.lock();
        state.learn(&catalog, now);
        let is_beside = report.counts.is_empty() && !(report.spans.is_empty() && report.tapped.is_empty());
        for spans in std::mem::take(&mut report.spans) {
            let State { traces, names, pools, .. } = &mut *state;
            let node = pools.unplaced.own(&reporter.workload, names);
            traces.take(&spans, &node, &reporter.node);
        }
        for tapped in std::mem::take(&mut report.tapped) {
            self.0.taps.show(tapped, reporter, &state.names);
        }
        // What is shown of single requests comes at any time, and without counts.
        if !is_beside {
            state.take(reporter, report, ids, (now, pause));
        }
        state.bound(&self.0.options, now);
        drop(state);
        self.0.figures.send_replace(now);
    }

    /// The graph of a window of time.
    pub fn graph(&self, query: &GraphQuery) -> Graph {
        let now = self.now();
        let catalog = self.0.catalog.borrow().clone();
        // The lock is held for the sums, and not for what is made of them.
        let reading = self.informed(|state| graph::read(state, query, now, self.stale_ms()));
        reading.build(&catalog)
    }

    /// Which services are `failing` or `degraded` by the requests of the last seconds, by the id of their node.
    pub fn ailing(&self, seconds: u64) -> BTreeMap<String, &'static str> {
        self.informed(|state| graph::ailing(state, seconds, self.now(), self.stale_ms()))
    }

    /// The edges with requests that failed or were denied in the last seconds.
    pub fn failing(&self, seconds: u64) -> Vec<FailingEdge> {
        self.informed(|state| graph::failing(state, seconds, self.now(), self.stale_ms()))
    }

    /// The time series of edges.
    pub fn series(&self, query: &SeriesQuery) -> SeriesView {
        let pause = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX);
        self.informed(|state| series::build(state, query, self.now(), pause))
    }

    /// The traces that are asked for, the newest first.
    pub fn traces(&self, query: &TraceQuery) -> Vec<TraceSummary> {
        self.informed(|state| state.traces.list(query))
    }

    /// A trace, with the spans of these namespaces; all without any.
    pub fn trace(&self, id: u128, namespaces: &[String]) -> Option<TraceView> {
        self.informed(|state| state.traces.get(id, namespaces))
    }

    /// Whether there is a node of this id: a service, or whoever had to do with the traffic that is still known.
    pub fn knows_node(&self, id: &str) -> bool {
        let catalog = self.0.catalog.borrow().clone();
        if id == UNKNOWN || catalog.entries().any(|entry| names::id(&entry.service) == id) {
            return true;
        }
        let state = self.0.state.lock();
        let reports = |proxy: &Proxy| *state.names.workload(&proxy.reporter.workload) == *id;
        state.edges.keys().any(|key| *key.source == *id || *key.destination == *id)
            || state.proxies.values().any(reports)
    }

    /// Whether a proxy of this id, or one of a workload of this name, has reported from one of these namespaces, or from
    /// anywhere without any.
    pub fn knows_proxy(&self, name: &str, namespaces: &[String]) -> bool {
        let seen = |of: &Reporter| namespaces.is_empty() || namespaces.contains(&of.workload.namespace);
        self.0.state.lock().proxies.values().any(|proxy| proxy.reporter.is_called(name) && seen(&proxy.reporter))
    }

    /// When proxies were last heard of, by whatever tells them apart; of several under one key, the latest.
    pub fn seen<K: Ord>(&self, key: impl Fn(&Reporter) -> Option<K>) -> BTreeMap<K, Seen> {
        let mut all: BTreeMap<K, Seen> = BTreeMap::new();
        for proxy in self.0.state.lock().proxies.values() {
            let (Some(key), at) = (key(&proxy.reporter), proxy.last_report / 1000) else { continue };
            if all.get(&key).is_none_or(|known| known.at < at) {
                let Reporter { version, os, .. } = &proxy.reporter;
                all.insert(key, Seen { at, version: version.clone(), os: os.clone() });
            }
        }
        all
    }

    /// Begins to look at live requests; `None` if too many look already.
    pub fn tap(&self, query: TapQuery) -> Option<TapStream> {
        self.0.taps.open(query)
    }

    /// What a proxy writes to its log, by its id in discovery; with a filter, once that is in force.
    pub async fn log_level(&self, node: &str, filter: &str) -> Result<String, AskError> {
        let filter = filter.to_owned();
        self.0.asks.ask(node, wire::ask::What::LogLevel(wire::LogLevel { filter })).await
    }

    /// The counters and gauges of a proxy whose names begin so, a line `NAME: VALUE` each, and no more than the limit.
    pub async fn counters(&self, node: &str, prefix: &str, limit: u32) -> Result<String, AskError> {
        let prefix = prefix.to_owned();
        self.0.asks.ask(node, wire::ask::What::Counters(wire::CounterQuery { prefix, limit })).await
    }

    pub(crate) fn asks(&self) -> &Asks {
        &self.0.asks
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.0.exports
    }

    pub(crate) fn taps(&self) -> &Taps {
        &self.0.taps
    }

    /// What a proxy is to show right now.
    pub(crate) fn wished(&self, reporter: &Reporter) -> Vec<wire::Tap> {
        if self.0.taps.is_empty() {
            return Vec::new();
        }
        let node = self.informed(|state| state.names.workload(&reporter.workload));
        self.0.taps.wished(reporter, &node)
    }

    /// The proxies that reported lately.
    pub fn reporters(&self) -> Vec<Reporter> {
        let heard_since = self.now().saturating_sub(self.stale_ms());
        let state = self.0.state.lock();
        let fresh = state.proxies.values().filter(|proxy| proxy.last_report > heard_since);
        let mut reporters: Vec<Reporter> = fresh.map(|proxy| proxy.reporter.clone()).collect();
        reporters.sort_by(|a, b| a.node.cmp(&b.node));
        reporters
    }

    fn stale_ms(&self) -> u64 {
        u64::try_from((self.interval() * STALE_AFTER).as_millis()).unwrap_or(u64::MAX)
    }

    /// Of what is known, with the names of now: services may have come since anybody reported.
    fn informed<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        let catalog = self.0.catalog.borrow().clone();
        let mut state = self.0.state.lock();
        state.learn(&catalog, self.now());
        read(&state)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock())
    }

    /// Forgets what is old, for as long as anybody else holds this.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(TIDY);
        loop {
            ticks.tick().await;
            let now = self.now();
            self.0.state.lock().tidy(now);
        }
    }
}

fn milliseconds(clock: &Clock) -> u64 {
    let since = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

impl State {
    /// Calls services and workloads as this catalog does, unless a newer one was learnt meanwhile.
    fn learn(&mut self, catalog: &Catalog, now: u64) {
        if self.names.version >= catalog.version {
            return;
        }
        self.names = Names::of(catalog);
        let placed = self.pools.unplaced.take_placed(&self.names);
        // A gateway is mostly of no service: all that is kept is looked through only where somebody found a place.
        if !placed.is_empty() {
            self.traces.rename(&placed);
            self.rename(&placed, now);
        }
    }

    /// Has the edges of nodes be of others.
    fn rename(&mut self, nodes: &HashMap<Arc<str>, Arc<str>>, now: u64) {
        let is_renamed = |key: &EdgeKey| [&key.source, &key.destination].into_iter().any(|id| nodes.contains_key(id));
        let renamed: Vec<_> = self.edges.extract_if(|key, _| is_renamed(key)).collect();
        for (key, edge) in renamed {
            let [source, destination] =
                [&key.source, &key.destination].map(|id| Arc::clone(nodes.get(id).unwrap_or(id)));
            let key = self.pools.edges.one(EdgeKey { source, destination, protocol: key.protocol });
            match self.edges.entry(key) {
                Entry::Occupied(mut known) => known.get_mut().absorb(edge, slot_of(now)),
                Entry::Vacant(place) => drop(place.insert(edge)),
            }
        }
    }

    fn take(
        &mut self,
        reporter: &Reporter,
        report: wire::ReportRequest,
        ids: &mut HashMap<u32, u64>,
        (now, pause): (u64, u64),
    ) {
        let known = self.proxies.get(&reporter.node);
        if known.is_none_or(|known| known.reporter.started_at != reporter.started_at) {
            let mut proxy = Proxy::new(reporter.clone());
            let before = self.remembered.remove(&reporter.node);
            if let Some(before) = before.filter(|before| before.started_at == reporter.started_at) {
                (proxy.last_report, proxy.told_until) = (before.last_report, before.last_report);
                proxy.remembered = before.series;
            }
            self.proxies.insert(reporter.node.clone(), proxy);
        }
        let Some(proxy) = self.proxies.get_mut(&reporter.node) else { return };
        if proxy.reporter != *reporter {
            proxy.reporter = reporter.clone();
        }
        proxy.resolve(&self.names, &mut self.pools);
        let first = proxy.last_report == 0;
        let foreign = first && reporter.started_at + FOREIGN_MS < self.began;
        let (from, to) = proxy.covered(now, pause, report.reporter.is_some() || ids.is_empty());
        if !foreign {
            self.since = self.since.min(from);
        }
        proxy.last_report = now;
        for told in report.opened {
            let id = told.id;
            if let Some(number) = proxy.open(told, &self.names, &mut self.pools) {
                ids.insert(id, number);
            }
        }
        for counts in report.counts {
            let series = ids.get(&counts.id).and_then(|number| proxy.series.get_mut(number));
            let Some(series) = series else { continue };
            let delta = series.last.advance(&counts);
            if foreign || delta.is_nothing() {
                continue;
            }
            if let Some(ledger) = &mut self.ledger {
                ledger.add(&proxy.reporter, &series.told, &delta);
            }
            let edge = self.edges.entry(Arc::clone(&series.edge)).or_default();
            edge.add(&series.told, delta, from, to);
            edge.note_principals(&proxy.reporter.principal, &series.told, &mut self.pools);
        }
    }

    /// Lets go of what there is too much of: those that were silent for longest go first.
    fn bound(&mut self, options: &Options, now: u64) {
        while self.proxies.len() > options.max_proxies {
            let oldest = self.proxies.iter().min_by_key(|(_, proxy)| proxy.last_report).map(|(node, _)| node.clone());
            oldest.map(|node| self.proxies.remove(&node));
        }
        if self.edges.len() > options.max_edges {
            self.edges.values_mut().for_each(|edge| edge.retire(slot_of(now)));
            // Some more than needed go, so that this is not done for each that comes.
            let excess = self.edges.len() - options.max_edges + options.max_edges / 50;
            let mut ages: Vec<(u32, Arc<EdgeKey>)> =
                self.edges.iter().map(|(key, edge)| (edge.newest(), Arc::clone(key))).collect();
            ages.sort_unstable_by_key(|(newest, _)| *newest);
            ages.truncate(excess);
            self.dropped += ages.len() as u64;
            ages.iter().for_each(|(_, key)| drop(self.edges.remove(key)));
        }
    }

    /// Forgets what is too old to be shown.
    fn tidy(&mut self, now: u64) {
        self.proxies.retain(|_, proxy| proxy.last_report + FORGOTTEN_MS > now);
        self.remembered.retain(|_, proxy| proxy.last_report + FORGOTTEN_MS > now);
        self.edges.retain(|_, edge| {
            edge.retire(slot_of(now));
            !(edge.by_source.is_empty() && edge.by_destination.is_empty())
        });
        self.pools.tidy();
        if self.pools.unplaced.is_crowded() {
            let series = self.proxies.values().flat_map(|proxy| proxy.series.values()).map(|series| &series.edge);
            let ends = self.edges.keys().chain(series).flat_map(|key| [&*key.source, &*key.destination]);
            self.pools.unplaced.retain(&ends.chain(self.traces.nodes()).collect());
        }
    }
}

/// While the caller's side told of an edge in one of so many slots before, the other side only tells what it denied:
/// the rest is the same once more.
const TOLD_LATELY: u32 = 3;

impl Edge {
    fn add(&mut self, told: &Told, delta: Delta, from: u64, now: u64) {
        if told.by_source() {
            return self.by_source.add(&told.manner, &delta, from, now);
        }
        let newest = self.by_source.newest();
        let known = newest > 0 && newest + TOLD_LATELY >= slot_of(now);
        let delta = if known { Delta { denied: delta.denied, ..Delta::default() } } else { delta };
        if !delta.is_nothing() {
            self.by_destination.add(&told.manner, &delta, from, now);
        }
    }

    /// Who the two ends proved to be.
    fn note_principals(&mut self, own: &str, told: &Told, pools: &mut Pools) {
        if !told.manner.mutual_tls {
            return;
        }
        let (source, destination) =
            if told.by_source() { (own, &*told.peer_principal) } else { (&*told.peer_principal, own) };
        for (kept, seen) in [(&mut self.source_principal, source), (&mut self.destination_principal, destination)] {
            if !seen.is_empty() && kept.as_deref() != Some(seen) {
                *kept = Some(pools.texts.one(seen));
            }
        }
    }

    /// Takes in what was told of the same calls under another name.
    fn absorb(&mut self, other: Self, now: u32) {
        self.by_source.absorb(other.by_source, now);
        self.by_destination.absorb(other.by_destination, now);
        self.source_principal = self.source_principal.take().or(other.source_principal);
        self.destination_principal = self.destination_principal.take().or(other.destination_principal);
    }

    pub fn retire(&mut self, now: u32) {
        self.by_source.retire(now);
        self.by_destination.retire(now);
    }

    pub fn newest(&self) -> u32 {
        self.by_source.newest().max(self.by_destination.newest())
    }
}
