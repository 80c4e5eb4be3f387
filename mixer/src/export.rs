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
    /// Sends metrics to these sinks from now on, and to no others. One that is there already goes on.
    pub fn export(&self, sinks: Vec<Sink>) {
        // What was counted before a sink is there is not news to it.
        let before: Told = self.change(|state| {
            if sinks.is_empty() {
                state.ledger = None;
                return Told::new();
            }
            let ledger = state.ledger.get_or_insert_with(|| Ledger::new(self.now()));
            ledger.batch(self.now()).series.into_iter().collect()
        });
        let mut running = self.exports().0.lock();
        running.retain(|known| {
            let stays = sinks.contains(&known.sink);
            if !stays {
                known.task.abort();
            }
            stays
        });
        for sink in sinks {
            if running.iter().all(|known| known.sink != sink) {
                let fared = Arc::new(Fared::default());
                let task = tokio::spawn(run(self.clone(), sink.clone(), before.clone(), Arc::clone(&fared)));
                running.push(Running { sink, fared, task });
            }
        }
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
async fn run(mixer: Mixer, sink: Sink, mut told: Told, fared: Arc<Fared>) {
    let mut backoff = Backoff::new(sink.interval, LONGEST_DELAY.max(sink.interval));
    let mut pause = sink.interval;
    loop {
        tokio::time::sleep(pause).await;
        let now = mixer.now();
        let Some(batch) = mixer.change(|state| state.ledger.as_ref().map(|ledger| ledger.batch(now))) else { return };
        match sink.to.send(&batch, &mut told).await {
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
