//! The agent's Unix socket, where programs of this machine get the identity of their workload: the SPIFFE Workload API,
//! and Envoy's secret discovery service. Whoever connects is told apart by what the kernel says of it, and is given
//! nothing unless it is one of those that the operator named.
//!
//! What must hold: no caller gets another workload's key; nothing that a caller sends decides who it is; no key is
//! logged.

pub(crate) mod authority;
mod caller;
pub(crate) mod jwt;
mod sds;
mod selectors;
mod service;
mod socket;
mod source;
mod stream;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use api::SpiffeError;
use api::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use api::workload_api::server::SpiffeWorkloadApiServer;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

pub use self::caller::Caller;
pub use self::selectors::Selectors;
pub(crate) use self::socket::Socket;
pub use self::socket::SocketError;
pub(crate) use self::source::Source;
use crate::identity::Identity;

/// Where a machine's agent has its socket.
pub const SOCKET: &str = "/run/weft/workload.sock";

/// The socket of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadApi {
    pub socket: PathBuf,
    /// Who the workload is.
    pub callers: Selectors,
}

/// Why a caller gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It is none of the workloads.
    Nobody,
    /// Its process ended, or is none that can be seen from here.
    Unseen,
    /// Its workload has no identity yet.
    NotYet,
}

/// Whose identity a caller gets.
pub(crate) type Decide = Arc<dyn Fn(&Caller) -> Result<Arc<Source>, Denied> + Send + Sync>;

/// Requests are a few names and a token.
const MAX_REQUEST: usize = 128 * 1024;
const MOST_STREAMS: u32 = 64;

/// Serves until the future is dropped.
pub(crate) async fn serve(socket: Socket, decide: Decide) {
    let workloads = SpiffeWorkloadApiServer::new(service::Service(decide.clone()));
    let secrets = SecretDiscoveryServiceServer::new(sds::Secrets(decide));
    let served = Server::builder()
        .max_concurrent_streams(MOST_STREAMS)
        .add_service(InterceptedService::new(workloads.max_decoding_message_size(MAX_REQUEST), service::meant))
        .add_service(secrets.max_decoding_message_size(MAX_REQUEST))
        .serve_with_incoming(socket.incoming());
    if let Err(error) = served.await {
        tracing::error!(%error, "the workload API ended");
    }
}

/// A bound socket, and who it is for.
pub(crate) struct Bound {
    socket: Socket,
    callers: Selectors,
}

/// Takes the place of the socket, where one is asked for.
pub(crate) fn bind(wanted: Option<&WorkloadApi>) -> Result<Option<Bound>, SocketError> {
    let Some(WorkloadApi { socket, callers }) = wanted else { return Ok(None) };
    Ok(Some(Bound { socket: Socket::bind(socket)?, callers: callers.clone() }))
}

/// Serves one workload until what it returns is dropped.
pub(crate) fn start(
    bound: Option<Bound>,
    identity: &Identity,
    control_plane: &str,
) -> Result<Option<Serving>, SpiffeError> {
    let Some(Bound { socket, callers }) = bound else { return Ok(None) };
    let source = Arc::new(Source::of(identity, control_plane)?);
    let decide: Decide =
        Arc::new(move |caller| if callers.fit(caller) { Ok(Arc::clone(&source)) } else { Err(Denied::Nobody) });
    Ok(Some(Serving(tokio::spawn(serve(socket, decide)))))
}

/// The socket while it is served.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who asks, and what it may have.
struct Asked {
    caller: Arc<Caller>,
    source: Arc<Source>,
}

impl Asked {
    fn of<T>(request: &Request<T>, decide: &Decide) -> Result<Self, Status> {
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("it is not known who asks"))?;
        // Nothing would say when another process has its number.
        let seen = if caller.is_there() { Ok(()) } else { Err(Denied::Unseen) };
        let decided = seen.and_then(|()| decide(&caller));
        decided.map(|source| Self { caller: Arc::clone(&caller), source }).map_err(|denied| {
            tracing::warn!(%caller, ?denied, "the workload API gave no identity to a caller");
            match denied {
                Denied::Nobody | Denied::Unseen => Status::permission_denied("no identity issued"),
                Denied::NotYet => Status::unavailable("the workload has no identity yet; try again"),
            }
        })
    }
}
