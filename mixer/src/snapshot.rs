//! What a restart of the control plane must not lose: an hour and a day of points, and what each proxy told in all, so
//! that its next report is taken for what came on top.
//!
//! Each snapshot adds what is new since the one before, under a key of its own; old ones are deleted by age. A point
//! that was not complete when it was written is written again by the next, which then counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use runtime::shutdown::Shutdown;
use store::{Store, StoreError, Transaction};

use crate::edge::{History, Point, SLOT_MS, slot_of};
use crate::intake::{EdgeKey, Last, Protocol};
use crate::mixer::{Edge, Mixer, Remembered, State};

const HOUR: &str = "hour";
const DAY: &str = "day";
const PROXIES: &str = "proxies";
const EVERY: Duration = Duration::from_secs(60);
/// So many milliseconds are kept.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How many edges, or proxies, are written together.
const PART: usize = 500;

#[derive(Clone, PartialEq, prost::Message)]
struct Points {
    #[prost(message, repeated, tag = "1")]
    edges: Vec<EdgePoints>,
}

/// Points of one side of an edge.
#[derive(Clone, PartialEq, prost::Message)]
struct EdgePoints {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(string, tag = "2")]
    destination: String,
    /// 0 TCP, 1 HTTP, 2 gRPC, as in reports.
    #[prost(uint32, tag = "3")]
    protocol: u32,
    #[prost(bool, tag = "4")]
    by_destination: bool,
    #[prost(uint32, repeated, tag = "5")]
    at: Vec<u32>,
    /// `Point::FIGURES` to a point.
    #[prost(float, repeated, tag = "6")]
    figures: Vec<f32>,
    #[prost(string, tag = "7")]
    source_principal: String,
    #[prost(string, tag = "8")]
    destination_principal: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Proxies {
    #[prost(message, repeated, tag = "1")]
    proxies: Vec<ProxyTotals>,
    /// Since when traffic is known, in Unix milliseconds.
    #[prost(uint64, tag = "2")]
    since: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProxyTotals {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(uint64, tag = "2")]
    started_at: u64,
    #[prost(uint64, tag = "3")]
    last_report: u64,
    #[prost(message, repeated, tag = "4")]
    series: Vec<Totals>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Totals {
    #[prost(fixed64, tag = "1")]
    number: u64,
    #[prost(uint64, tag = "2")]
    total: u64,
    #[prost(uint64, tag = "3")]
    denied: u64,
    #[prost(uint64, tag = "4")]
    received: u64,
    #[prost(uint64, tag = "5")]
    sent: u64,
    /// Buckets and their counts by turns.
    #[prost(uint64, repeated, tag = "6")]
    latency: Vec<u64>,
}

/// Where a mixer keeps its snapshots.
pub struct Keeper {
    store: Arc<dyn Store>,
    mixer: Mixer,
    /// What all keys begin with.
    root: String,
    /// The newest slot that was written; it may have been incomplete.
    written: u32,
    /// The keys of snapshots, oldest first, and until when each is kept.
    kept: VecDeque<(u64, String)>,
    parts_of_proxies: usize,
}

impl Keeper {
    /// Reads back what was kept, and gives it to the mixer.
    /// Each of several control planes on one store has a name of its own, and keeps what was reported to it.
    pub async fn open(store: Arc<dyn Store>, mixer: Mixer, replica: &str) -> Result<Self, StoreError> {
        let root = format!("telemetry/{replica}/");
        let mut keeper = Self { store, mixer, root, written: 0, kept: VecDeque::new(), parts_of_proxies: 0 };
        let now = keeper.mixer.now();
        for (kind, age) in [(DAY, DAY_MS), (HOUR, HOUR_MS)] {
            let prefix = format!("{}{kind}/", keeper.root);
            for entry in keeper.store.list(&prefix).await?.entries {
                let slot = entry.key[prefix.len()..].split('/').next().and_then(|slot| slot.parse::<u64>().ok());
                keeper.kept.push_back((slot.unwrap_or_default() * SLOT_MS + age, entry.key));
                if let Ok(points) = Points::decode(entry.value) {
                    keeper.mixer.change(|state| restore(state, points, kind == DAY, now));
                }
            }
        }
        keeper.kept.make_contiguous().sort();
        keeper.written = slot_of(now);
        keeper.mixer.change(|state| {
            let histories = state.edges.values_mut().flat_map(|edge| [&mut edge.by_source, &mut edge.by_destination]);
            histories.for_each(|history| history.resume(slot_of(now)));
        });
        for entry in keeper.store.list(&format!("{}{PROXIES}/", keeper.root)).await?.entries {
            keeper.parts_of_proxies += 1;
            if let Ok(proxies) = Proxies::decode(entry.value) {
                keeper.mixer.change(|state| restore_proxies(state, proxies));
            }
        }
        Ok(keeper)
    }

    /// Writes what is new, every minute, until the end; then once more.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let ends = tokio::select! {
                _ = ticks.tick() => false,
                () = shutdown.draining() => true,
            };
            if let Err(error) = self.keep().await {
                tracing::warn!(%error, "the traffic of the last minute cannot be kept; a restart would lose it");
            }
            if ends {
                return;
            }
        }
    }

    /// Writes what is new.
    pub async fn keep(&mut self) -> Result<(), StoreError> {
        let now = self.mixer.now();
        let slot = slot_of(now);
        let from = self.written;
        let (hour, day, proxies, since) = self.mixer.change(|state| {
            let hour = points(state, |history| {
                history.fine.since(from).chain(history.live_points().filter(|point| point.at >= from)).collect()
            });
            state.edges.values_mut().for_each(|edge| edge.retire(slot));
            (hour, points(state, History::fresh_coarse), totals(state), state.since)
        });
        for (kind, list, age) in [(HOUR, hour, HOUR_MS), (DAY, day, DAY_MS)] {
            for (number, part) in list.chunks(PART).enumerate() {
                let key = format!("{}{kind}/{slot:012}/{number:04}", self.root);
                let value = Points { edges: part.to_vec() }.encode_to_vec();
                self.store.commit(Transaction::put(key.clone(), value)).await?;
                self.kept.push_back((now + age, key));
            }
        }
        let parts: Vec<_> = proxies.chunks(PART / 5).collect();
        for number in 0..parts.len().max(self.parts_of_proxies) {
            let key = format!("{}{PROXIES}/{number:04}", self.root);
            let change = match parts.get(number) {
                Some(part) => Transaction::put(key, Proxies { proxies: part.to_vec(), since }.encode_to_vec()),
                None => Transaction::delete(key),
            };
            self.store.commit(change).await?;
        }
        self.parts_of_proxies = parts.len();
        self.written = slot;
        self.forget(now).await
    }

    /// Deletes snapshots that are too old.
    async fn forget(&mut self, now: u64) -> Result<(), StoreError> {
        self.kept.make_contiguous().sort();
        while let Some((_, key)) = self.kept.pop_front_if(|(until, _)| *until < now) {
            self.store.commit(Transaction::delete(key)).await?;
        }
        Ok(())
    }
}

fn points(state: &mut State, mut of: impl FnMut(&mut History) -> Vec<Point>) -> Vec<EdgePoints> {
    let mut list = Vec::new();
    for (key, edge) in &mut state.edges {
        let Edge { by_source, by_destination, source_principal, destination_principal } = edge;
        for (by_destination, history) in [(false, by_source), (true, by_destination)] {
            let points = of(history);
            if points.is_empty() {
                continue;
            }
            list.push(EdgePoints {
                source: key.source.to_string(),
                destination: key.destination.to_string(),
                protocol: key.protocol as u32,
                by_destination,
                at: points.iter().map(|point| point.at).collect(),
                figures: points.iter().flat_map(Point::figures).collect(),
                source_principal: source_principal.as_deref().unwrap_or_default().to_owned(),
                destination_principal: destination_principal.as_deref().unwrap_or_default().to_owned(),
            });
        }
    }
    list
}

fn totals(state: &State) -> Vec<ProxyTotals> {
    let of = |(number, last): (&u64, &Last)| Totals {
        number: *number,
        total: last.total,
        denied: last.denied,
        received: last.received,
        sent: last.sent,
        latency: last.latency.iter().flat_map(|(bucket, count)| [u64::from(*bucket), *count]).collect(),
    };
    let proxies = state.proxies.values().map(|proxy| ProxyTotals {
        node: proxy.reporter.node.clone(),
        started_at: proxy.reporter.started_at,
        last_report: proxy.last_report,
        series: proxy.series.iter().map(|(number, series)| of((number, &series.last))).collect(),
    });
    proxies.collect()
}

fn restore(state: &mut State, kept: Points, coarse: bool, now: u64) {
    for told in kept.edges {
        let protocol = match told.protocol {
            1 => Protocol::Http,
            2 => Protocol::Grpc,
            _ => Protocol::Tcp,
        };
        let [source, destination] = [told.source, told.destination].map(|id| state.pools.texts.one(id));
        // Its service may have become known since.
        [&source, &destination].into_iter().for_each(|node| state.pools.unplaced.named(node));
        let key = state.pools.edges.one(EdgeKey { source, destination, protocol });
        let edge = state.edges.entry(key).or_default();
        let principals = [told.source_principal, told.destination_principal];
        [edge.source_principal, edge.destination_principal] =
            principals.map(|principal| (!principal.is_empty()).then(|| state.pools.texts.one(principal)));
        let history = if told.by_destination { &mut edge.by_destination } else { &mut edge.by_source };
        for (at, figures) in told.at.into_iter().zip(told.figures.as_chunks().0) {
            let point = Point::from_figures(at, *figures);
            if coarse { history.restore_coarse(&point) } else { history.restore_fine(&point) }
        }
        history.retire(slot_of(now));
    }
}

fn restore_proxies(state: &mut State, kept: Proxies) {
    state.since = state.since.min(kept.since);
    for proxy in kept.proxies {
        let series = proxy.series.into_iter().map(|totals| {
            let latency =
                totals.latency.chunks_exact(2).filter_map(|pair| Some((u8::try_from(pair[0]).ok()?, pair[1])));
            let last = Last {
                total: totals.total,
                denied: totals.denied,
                received: totals.received,
                sent: totals.sent,
                latency: latency.collect(),
            };
            (totals.number, last)
        });
        let remembered =
            Remembered { started_at: proxy.started_at, last_report: proxy.last_report, series: series.collect() };
        state.remembered.insert(proxy.node, remembered);
    }
}
