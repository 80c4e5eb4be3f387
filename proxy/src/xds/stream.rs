//! Keeps an ADS stream open: opens it again whenever it ends, waiting longer each time until something comes.

use std::time::Duration;

use api::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use runtime::Backoff;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use super::session::{Requests, Response};

/// A server, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    pub channel: Channel,
    /// Else each answer holds the state of the world.
    pub incremental: bool,
    pub metadata: MetadataMap,
    pub node_on_first_message_only: bool,
}

#[derive(Debug)]
pub enum Event {
    /// A stream opens: the first requests are sent now. It ends when the second half is dropped.
    Opening(Requests, oneshot::Sender<()>),
    Came(Response),
    Ended,
}

const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// How long a server may take to end a stream that nobody asks anything on any more.
const LAST_WORD: Duration = Duration::from_secs(1);
/// More than the largest configuration in use.
const LARGEST_MESSAGE: usize = 256 * 1024 * 1024;

/// Follows a server until nobody wants its events any more.
pub async fn follow(server: Server, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut told = None;
    loop {
        let mut answered = false;
        let followed = once(&server, &events, &mut answered).await;
        if answered {
            backoff.reset();
            told = None;
        }
        if events.send(Event::Ended).await.is_err() {
            return;
        }
        match followed {
            Ok(()) => tracing::info!("the control plane ended the stream; opening it again"),
            Err(status) if told.as_deref() == Some(status.message()) => {}
            Err(status) => {
                tell(&status);
                told = Some(status.message().to_owned());
            }
        }
        let jitter = rand::random_range(0.5..1.0);
        tokio::time::sleep(backoff.failed().mul_f64(jitter)).await;
    }
}

async fn once(server: &Server, events: &mpsc::Sender<Event>, answered: &mut bool) -> Result<(), Status> {
    let (open, mut closed) = oneshot::channel();
    let service = AggregatedDiscoveryServiceClient::new(server.channel.clone());
    let mut service = service.max_decoding_message_size(LARGEST_MESSAGE);
    let gone = |_| Status::cancelled("nobody listens any more");
    macro_rules! stream {
        ($wrap:path, $came:path, $call:ident) => {{
            let (requests, outgoing) = mpsc::unbounded_channel();
            events.send(Event::Opening($wrap(requests), open)).await.map_err(gone)?;
            let mut request = tonic::Request::new(UnboundedReceiverStream::new(outgoing));
            *request.metadata_mut() = server.metadata.clone();
            let mut responses = service.$call(request).await?.into_inner();
            tracing::info!("following the control plane");
            loop {
                let next = tokio::select! {
                    next = responses.next() => next,
                    _ = &mut closed => {
                        // What was asked last is on its way; the server ends the stream once it has it.
                        let _ = tokio::time::timeout(LAST_WORD, async { while responses.next().await.is_some() {} }).await;
                        return Ok(());
                    }
                };
                let Some(response) = next else { return Ok(()) };
                let response = response?;
                *answered = true;
                events.send(Event::Came($came(response))).await.map_err(gone)?;
            }
        }};
    }
    if server.incremental {
        stream!(Requests::Delta, Response::Delta, delta_aggregated_resources)
    } else {
        stream!(Requests::Sotw, Response::Sotw, stream_aggregated_resources)
    }
}

/// Says why the stream ended; the same reason again is not worth another line.
fn tell(status: &Status) {
    use tonic::Code::{PermissionDenied, Unauthenticated};
    let reason = status.message();
    if matches!(status.code(), PermissionDenied | Unauthenticated) {
        tracing::error!(reason, "the control plane refuses this proxy; its token may be for another service account");
    } else {
        tracing::warn!(code = ?status.code(), reason, "the control plane is out of reach; serving on the last configuration");
    }
}
