//! The metrics of the whole mesh for those who keep them elsewhere: a total for each series since this control plane
//! began to export, and one task for each sink that sends what is new.

mod http;
mod influxdb;
mod ledger;
mod otlp;
mod statsd;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Backoff;
use tokio::task::JoinHandle;

pub use influxdb::{InfluxAuth, InfluxDb};
pub(crate) use ledger::Ledger;
pub use otlp::Otlp;
pub use statsd::{StatsD, TagStyle};

use crate::Mixer;
use ledger::{Batch, Labels, Totals};

/// Where metrics go, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    pub name: String,
    pub interval: Duration,
    pub to: SinkKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Otlp(Otlp),
    StatsD(StatsD),
    InfluxDb(InfluxDb),
}

/// How a sink fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    pub name: String,
    pub kind: &'static str,
    /// Times that all of it was taken, and times that it was not.
    pub sent: u64,
    pub failed: u64,
    /// Why it is not taken now.
    pub trouble: Option<String>,
}

/// The sinks there are; what one does not take it is sent again.
#[derive(Default)]
pub(crate) struct Exports(Mutex<Vec<Running>>);

struct Running {
    sink: Sink,
    told: Arc<tokio::sync::Mutex<Told>>,
    fared: Arc<Fared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Fared {
    sent: AtomicU64,
    failed: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// What a sink was sent so far, for those that want differences.
pub(crate) type Told = HashMap<Labels, Totals>;

const LONGEST_DELAY: Duration = Duration::from_secs(120);

impl SinkKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Otlp(_) => "otlpMetrics",
            Self::StatsD(_) => "statsd",
            Self::InfluxDb(_) => "influxdb",
        }
    }

    async fn send(&self, batch: &Batch, told: &mut Told) -> Result<(), String> {
        match self {
            Self::Otlp(otlp) => otlp.send(batch).await,
            Self::StatsD(statsd) => statsd.send(batch, told).await,
            Self::InfluxDb(influx) => influx.send(batch, told).await,
        }
    }
}

impl Mixer {
    /// Sends metrics to these sinks from now on, and to no others. One that is there already goes on, with other settings
    /// too: what it was not sent yet it is sent then.
    pub fn export(&self, sinks: Vec<Sink>) {
        let had_any = self.change(|state| {
            if sinks.is_empty() {
                return state.ledger.take().is_some();
            }
            let had_any = state.ledger.is_some();
            state.ledger.get_or_insert_with(|| Ledger::new(self.now()));
            had_any
        });
        let mut running = self.exports().0.lock();
        let (stay, gone): (Vec<_>, Vec<_>) = running.drain(..).partition(|known| sinks.contains(&known.sink));
        gone.iter().for_each(|known| known.task.abort());
        *running = stay;
        for sink in sinks {
            if running.iter().any(|known| known.sink == sink) {
                continue;
            }
            let is_heir = |known: &&Running| known.sink.name == sink.name && known.sink.to.as_str() == sink.to.as_str();
            let told = match gone.iter().find(is_heir) {
                Some(known) => Arc::clone(&known.told),
                // What was counted before there was such a sink is not news to it.
                None if had_any => Arc::new(tokio::sync::Mutex::new(self.counted())),
                None => Arc::default(),
            };
            let fared = Arc::new(Fared::default());
            let task = tokio::spawn(run(self.clone(), sink.clone(), Arc::clone(&told), Arc::clone(&fared)));
            running.push(Running { sink, told, fared, task });
        }
    }

    fn counted(&self) -> Told {
        let batch = self.change(|state| state.ledger.as_ref().map(|ledger| ledger.batch(self.now())));
        batch.map(|batch| batch.series.into_iter().collect()).unwrap_or_default()
    }

    pub fn sinks(&self) -> Vec<SinkStatus> {
        let running = self.exports().0.lock();
        running.iter().map(Running::status).collect()
    }

    /// Series that are not exported, since there are too many.
    pub fn series_not_exported(&self) -> u64 {
        self.change(|state| state.ledger.as_ref().map_or(0, Ledger::dropped))
    }
}

impl Running {
    fn status(&self) -> SinkStatus {
        SinkStatus {
            name: self.sink.name.clone(),
            kind: self.sink.to.as_str(),
            sent: self.fared.sent.load(Ordering::Relaxed),
            failed: self.fared.failed.load(Ordering::Relaxed),
            trouble: self.fared.trouble.lock().clone(),
        }
    }
}

/// Until the sink is taken away. The first time is after an interval: before, there is little to tell.
async fn run(mixer: Mixer, sink: Sink, told: Arc<tokio::sync::Mutex<Told>>, fared: Arc<Fared>) {
    let mut backoff = Backoff::new(sink.interval, LONGEST_DELAY.max(sink.interval));
    let mut pause = sink.interval;
    loop {
        tokio::time::sleep(pause).await;
        let now = mixer.now();
        let Some(batch) = mixer.change(|state| state.ledger.as_ref().map(|ledger| ledger.batch(now))) else { return };
        match sink.to.send(&batch, &mut *told.lock().await).await {
            Ok(()) => {
                fared.sent.fetch_add(1, Ordering::Relaxed);
                *fared.trouble.lock() = None;
                backoff.reset();
                pause = sink.interval;
            }
            Err(why) => {
                fared.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(sink = sink.name, why, "metrics are not taken; they are sent again");
                *fared.trouble.lock() = Some(why);
                pause = backoff.failed();
            }
        }
    }
}

#[cfg(test)]
mod tests;
