//! The service `weft.v1.Telemetry`: takes the reports of proxies, each for itself alone.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use api::weft::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};
use wire::telemetry_server::{Telemetry, TelemetryServer};

use crate::{Mixer, Reporter};

/// Decides who a caller is: by its certificate, and by what it says of itself.
#[tonic::async_trait]
pub trait Admission: Send + Sync + 'static {
    async fn admit(&self, caller: &Extensions, told: wire::Reporter) -> Result<Reporter, Status>;
}

pub struct TelemetryService {
    mixer: Mixer,
    admission: Arc<dyn Admission>,
}

impl TelemetryService {
    pub fn server(mixer: Mixer, admission: Arc<dyn Admission>) -> TelemetryServer<Self> {
        TelemetryServer::new(Self { mixer, admission })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ReportResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Telemetry for TelemetryService {
    type ReportStream = Answers;

    async fn report(&self, request: Request<Streaming<wire::ReportRequest>>) -> Result<Response<Answers>, Status> {
        let (_, extensions, mut reports) = request.into_parts();
        let first = reports.message().await?.ok_or_else(|| Status::invalid_argument("the stream carries no report"))?;
        let told = first.reporter.clone();
        let told = told.ok_or_else(|| Status::invalid_argument("the first report does not say whose it is"))?;
        let reporter = self.admission.admit(&extensions, told).await?;
        let (answers, stream) = mpsc::channel(4);
        let mixer = self.mixer.clone();
        tokio::spawn(async move {
            let node = reporter.node.clone();
            if let Err(status) = follow(mixer, reporter, first, reports, answers).await {
                tracing::debug!(node, %status, "reports of a proxy are cut");
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Takes reports, and says how they are wanted, until the proxy ends the stream.
async fn follow(
    mixer: Mixer,
    reporter: Reporter,
    first: wire::ReportRequest,
    mut reports: Streaming<wire::ReportRequest>,
    answers: mpsc::Sender<Result<wire::ReportResponse, Status>>,
) -> Result<(), Status> {
    let _counted = mixer.reports();
    let mut ids = HashMap::new();
    let mut taps = mixer.taps().changes();
    // Who is shown as reporting can be asked.
    let mut asked = mixer.asks().open(&reporter.node);
    mixer.take(&reporter, first, &mut ids);
    let mut questions = Vec::new();
    let mut told = None;
    loop {
        taps.borrow_and_update();
        let interval_ms = u32::try_from(mixer.interval().as_millis()).unwrap_or(u32::MAX);
        let wish = wire::ReportResponse { interval_ms, taps: mixer.wished(&reporter), asks: Vec::new() };
        let asks = std::mem::take(&mut questions);
        if !asks.is_empty() || told.as_ref() != Some(&wish) {
            told = Some(wish.clone());
            if answers.send(Ok(wire::ReportResponse { asks, ..wish })).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            report = reports.message() => match report? {
                Some(mut report) => {
                    let answers = std::mem::take(&mut report.answers);
                    // Answers come alone, and tell nothing of traffic.
                    if answers.is_empty() {
                        mixer.take(&reporter, report, &mut ids);
                    }
                    asked.answered(answers);
                }
                None => return Ok(()),
            },
            _ = taps.changed() => {}
            ask = asked.next() => questions.push(ask),
            () = answers.closed() => return Ok(()),
        }
    }
}
