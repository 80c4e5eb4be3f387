//! Tells the control plane of the traffic, every few seconds, for as long as the proxy runs (`weft.v1.Telemetry`). What
//! is told is read from the counters that requests already move; nothing here is on a request's way.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::weft::v1 as wire;
use runtime::{Backoff, logging};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::ask::What;
use wire::telemetry_client::TelemetryClient;

use crate::admin::dotted;
use crate::data_plane::DataPlane;
use crate::settings::Settings;
use crate::stats::{Collector, workload};
use crate::tap::Taps;

/// The pause between two reports, unless the control plane wishes another.
const INTERVAL: Duration = Duration::from_secs(5);
/// No wish makes it shorter or longer than this.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(300);
/// A control plane that knows nothing of reports is asked again after this time.
const UNKNOWN: Duration = Duration::from_secs(300);
/// How long the last report may take.
const LAST_WORD: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(15);

/// The cluster whose spans go to the control plane with the reports (Istio's name of its connection).
pub const CONTROL_PLANE_CLUSTER: &str = "xds-grpc";
/// So much may wait to be sent; what is beyond is lost.
pub const EXTRAS: usize = 256;

/// No question is answered with more counters.
const MOST_COUNTERS: u32 = 5_000;

/// What leaves with the reports, from workers.
#[derive(Debug)]
pub enum Extra {
    /// Finished spans, in OTLP.
    Spans(Vec<u8>),
    Tapped(Box<wire::Tapped>),
}

/// Reports what is counted.
pub struct Reporter {
    data_plane: Arc<DataPlane>,
    extras: mpsc::Receiver<Extra>,
    client: TelemetryClient<Channel>,
    who: wire::Reporter,
    last: oneshot::Receiver<()>,
}

/// Has the reporter tell what is left to tell.
pub struct LastReport {
    ask: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How a stream ended.
enum Ended {
    /// By this proxy, with its last report.
    Told,
    Cut(Status),
}

impl Reporter {
    /// Begins to report.
    pub fn start(settings: &Settings, data_plane: &Arc<DataPlane>, channel: Channel) -> LastReport {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let who = wire::Reporter {
            node: settings.node().id,
            started_at: u64::try_from(since.as_millis()).unwrap_or_default(),
            workload: Some(workload(&settings.own())),
            metrics: settings.metrics.to_string(),
            metrics_path: settings
                .node_proxy_port
                .map_or_else(String::new, |_| settings.path_at_node() + "/stats/prometheus"),
            version: concat!("weft/", env!("CARGO_PKG_VERSION")).to_owned(),
            os: os(),
        };
        let (ask, last) = oneshot::channel();
        let extras = data_plane.extras();
        let data_plane = Arc::clone(data_plane);
        let reporter = Self { data_plane, extras, client: TelemetryClient::new(channel), who, last };
        LastReport { ask, task: tokio::spawn(reporter.run()) }
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            let Ended::Cut(ended) = self.stream(&mut backoff).await else { return };
            self.data_plane.set_taps(None);
            let pause = if ended.code() == Code::Unimplemented { UNKNOWN } else { backoff.failed() };
            tracing::debug!(status = %ended, "reports to the control plane are cut");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut self.last => return,
            }
        }
    }

    /// One stream, from its first report to its end.
    async fn stream(&mut self, backoff: &mut Backoff) -> Ended {
        let mut collector = Collector::default();
        let (reports, stream) = mpsc::channel(16);
        let first =
            wire::ReportRequest { reporter: Some(self.who.clone()), ..collector.collect(&self.data_plane.stats) };
        // The channel has room.
        let _ = reports.try_send(first);
        let mut answers = match self.client.report(ReceiverStream::new(stream)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ended::Cut(status),
        };
        backoff.reset();
        let mut wished = INTERVAL;
        let mut ticks = every(wished);
        loop {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        let interval = Duration::from_millis(answer.interval_ms.into());
                        if wished != interval {
                            (wished, ticks) = (interval, every(interval));
                        }
                        self.data_plane.set_taps(Taps::of(&answer.taps));
                        if !answer.asks.is_empty() {
                            let answers = answer.asks.into_iter().map(|ask| self.answer(ask)).collect();
                            let _ = reports.send(wire::ReportRequest { answers, ..Default::default() }).await;
                        }
                    }
                    Ok(None) => return Ended::Cut(Status::unavailable("the control plane ended the stream")),
                    Err(status) => return Ended::Cut(status),
                },
                // They wait where they are until there is a place for them.
                Some((place, extra)) = with_a_place(&reports, &mut self.extras) => place.send(alone(extra)),
                _ = &mut self.last => break,
                _ = ticks.tick() => {
                    // One that is late waits for its place, and the next says what changed meanwhile.
                    if let Ok(place) = reports.try_reserve() {
                        place.send(collector.collect(&self.data_plane.stats));
                    }
                }
            }
        }
        // What nobody can count anew comes first.
        let _ = reports.send(collector.collect(&self.data_plane.stats)).await;
        while let Ok(extra) = self.extras.try_recv() {
            let _ = reports.send(alone(extra)).await;
        }
        drop(reports);
        // The end of the answers says that the report was taken.
        while let Ok(Some(_)) = answers.message().await {}
        Ended::Told
    }
}

impl Reporter {
    /// What is not known is left to those who are newer.
    fn answer(&self, ask: wire::Ask) -> wire::Answer {
        let told = match ask.what {
            Some(What::LogLevel(wished)) => log_level(&wished.filter),
            Some(What::Counters(query)) => Ok(self.counters(&query)),
            None => Err("this version does not know the question".to_owned()),
        };
        let (text, error) = told.map_or_else(|error| (String::new(), error), |text| (text, String::new()));
        wire::Answer { id: ask.id, text, error }
    }

    fn counters(&self, query: &wire::CounterQuery) -> String {
        let all = dotted(&self.data_plane.metrics(), None);
        let wanted = all.range(query.prefix.clone()..).take_while(|(name, _)| name.starts_with(&query.prefix));
        let limit = query.limit.clamp(1, MOST_COUNTERS) as usize;
        wanted.take(limit).map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

/// The filter in force, after the one that is wished, if any, was put there.
fn log_level(filter: &str) -> Result<String, String> {
    if !filter.is_empty() && !logging::set_filter(filter) {
        return Err(format!("its log does not take {filter:?}"));
    }
    Ok(logging::filter())
}

impl LastReport {
    /// Returns once all was told, or cannot be.
    pub async fn tell(self) {
        let _ = self.ask.send(());
        let _ = tokio::time::timeout(LAST_WORD, self.task).await;
    }
}

/// What leaves with the reports next, once it can leave. Nothing is lost if this is not waited for to the end.
async fn with_a_place<'a>(
    reports: &'a mpsc::Sender<wire::ReportRequest>,
    extras: &mut mpsc::Receiver<Extra>,
) -> Option<(mpsc::Permit<'a, wire::ReportRequest>, Extra)> {
    let place = reports.reserve().await.ok()?;
    Some((place, extras.recv().await?))
}

fn alone(extra: Extra) -> wire::ReportRequest {
    match extra {
        Extra::Spans(spans) => wire::ReportRequest { spans: vec![spans], ..Default::default() },
        Extra::Tapped(tapped) => wire::ReportRequest { tapped: vec![*tapped], ..Default::default() },
    }
}

/// `Debian GNU/Linux 12 (bookworm)` (os-release(5)), or what the program was built for.
fn os() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| std::env::consts::OS.to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

fn every(wished: Duration) -> tokio::time::Interval {
    let period = wished.clamp(SHORTEST, LONGEST);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
