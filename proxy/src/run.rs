//! A proxy in the mesh, from start to end: its identity, its workers, the control plane it follows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;

use crate::admin::{self, Admin, Metrics, Readiness};
use crate::config::{ResourceSource, Source};
use crate::connection_limit::ConnectionLimit;
use crate::control_plane::{channel, control_plane_id};
use crate::data_plane::DataPlane;
use crate::dns;
use crate::identity::{Identity, IdentityError, IdentityOptions};
use crate::settings::Settings;
use crate::stats::StatsView;
use crate::telemetry::{CONTROL_PLANE_CLUSTER, Reporter};
use crate::tls::TlsSettings;
use crate::workload_api::{self, SocketError};
use crate::xds;

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("cannot listen on {address}: {error}; another process has the port, or the address is not of this machine")]
    Bind { address: SocketAddr, error: io::Error },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the trust domain or an identity in it is malformed: {0}")]
    Spiffe(#[from] api::SpiffeError),
    #[error(transparent)]
    WorkloadApi(#[from] SocketError),
    #[error("the workers could not be started: {0}")]
    Workers(io::Error),
    /// A static configuration could not be put in force.
    #[error("{0}")]
    Refused(String),
}

/// How long a snapshot may wait for resources it refers to.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs a proxy until it is told to end. `ready` becomes true once a configuration is in force.
pub async fn run(settings: Settings, shutdown: Shutdown, ready: watch::Sender<bool>) -> Result<(), ProxyError> {
    let doors = Doors::bind(&settings).await?;
    let api = workload_api::bind(settings.workload_api.as_ref())?;
    let mut options = IdentityOptions::new(&settings.state_dir, &settings.control_plane, &settings.trust_domain)?;
    options.token = settings.token.clone();
    options.token_file = settings.token_file.clone();
    let identity = tokio::select! {
        identity = Identity::load_or_join(options) => identity?,
        () = shutdown.draining() => return Ok(()),
    };
    let _api = workload_api::start(api, &identity, &settings.control_plane)?;
    serve(settings, doors, identity, shutdown, ready, None).await
}

/// Runs a workload whose connections a node proxy takes; `shown` is how it is reached while it runs.
pub async fn run_at_node(
    settings: Settings,
    shutdown: Shutdown,
    shown: watch::Sender<Option<Arc<Admin>>>,
) -> Result<(), ProxyError> {
    let mut options = IdentityOptions::new(&settings.state_dir, &settings.control_plane, &settings.trust_domain)?;
    options.token = settings.token.clone();
    options.token_file = settings.token_file.clone();
    let identity = tokio::select! {
        identity = Identity::load_or_join(options) => identity?,
        () = shutdown.draining() => return Ok(()),
    };
    // The next run renews in the same directory.
    let _renewal = identity.renewal();
    serve(settings, Doors::OfNode(shown), identity, shutdown, watch::Sender::new(false), None).await
}

/// Why a workload does not serve, if it does not; nothing before that is known.
pub type Health = watch::Receiver<Option<Option<String>>>;

/// Runs a proxy with an identity that somebody else keeps.
pub async fn run_as(
    settings: Settings,
    identity: Identity,
    health: Health,
    shutdown: Shutdown,
    ready: watch::Sender<bool>,
) -> Result<(), ProxyError> {
    let doors = Doors::bind(&settings).await?;
    serve(settings, doors, identity, shutdown, ready, Some(health)).await
}

/// How the proxy is reached beside its traffic.
enum Doors {
    /// Sockets that are bound before anything else is begun.
    Own { admin: TcpListener, readiness: TcpListener, metrics: TcpListener, dns: Option<dns::Server> },
    /// Through the node proxy.
    OfNode(watch::Sender<Option<Arc<Admin>>>),
}

impl Doors {
    async fn bind(settings: &Settings) -> Result<Self, ProxyError> {
        let dns = match &settings.dns {
            Some(wanted) => Some(dns::Server::bind(wanted, &settings.namespace, &settings.domain).await?),
            None => None,
        };
        Ok(Self::Own {
            admin: bind(settings.admin).await?,
            readiness: bind(settings.readiness).await?,
            metrics: bind(settings.metrics).await?,
            dns,
        })
    }

    /// Opens them, for as long as the tasks run.
    fn open(self, admin: Arc<Admin>) -> Vec<JoinHandle<()>> {
        match self {
            Self::Own { admin: socket, readiness, metrics, dns } => {
                let data_plane = Arc::clone(&admin.data_plane);
                let mut tasks = vec![
                    tokio::spawn(admin::serve(readiness, Arc::new(Readiness(Arc::clone(&admin))))),
                    tokio::spawn(admin::serve(metrics, Arc::new(Metrics(Arc::clone(&admin))))),
                    tokio::spawn(admin::serve(socket, admin)),
                ];
                tasks.extend(dns.map(|dns| {
                    tracing::info!(address = %dns.address(), "answering DNS");
                    data_plane.stats.with_dns(dns.counters());
                    tokio::spawn(dns.serve(data_plane.snapshots()))
                }));
                tasks
            }
            Self::OfNode(shown) => {
                shown.send_replace(Some(admin));
                Vec::new()
            }
        }
    }
}

async fn serve(
    settings: Settings,
    doors: Doors,
    identity: Identity,
    shutdown: Shutdown,
    ready: watch::Sender<bool>,
    health: Option<Health>,
) -> Result<(), ProxyError> {
    let tls = TlsSettings { identity: Some(identity.clone()) };
    let limit = ConnectionLimit::default().for_users(settings.way_out.clone());
    let data_plane = DataPlane::start(settings.workers, settings.own(), tls, limit).map_err(ProxyError::Workers)?;
    let data_plane = Arc::new(data_plane);
    let is_ending = Arc::new(AtomicBool::new(false));
    let in_force = says_ready(ready.clone(), Arc::clone(&is_ending));
    let (client, handle) = follow(&settings, &identity, Arc::clone(&data_plane), in_force).await?;
    let server = control_plane_id(&settings.trust_domain)?;
    let control_plane = channel(&settings.control_plane, &identity, server);
    let reports = Reporter::start(&settings, &data_plane, control_plane.clone());
    let trust = tokio::spawn(identity.clone().follow_trust(control_plane));
    let quit = Arc::new(Notify::new());
    let admin = Arc::new(Admin {
        data_plane: Arc::clone(&data_plane),
        identity: Some(identity),
        ready: ready.subscribe(),
        view: StatsView::default(),
        node: settings.node(),
        resources: handle.clone(),
        file: Bytes::new(),
        concurrency: settings.workers,
        started: Instant::now(),
        quit: Arc::clone(&quit),
        users: settings.users.clone(),
    });
    let mut tasks = doors.open(admin);
    tasks.extend([trust, tokio::spawn(client.run()), tokio::spawn(reopen_logs(Arc::clone(&data_plane)))]);
    let telling = health.map(|health| tokio::spawn(tell_health(health, handle.clone())));
    if telling.is_none() {
        // A proxy that ended before may have said otherwise.
        handle.tell_health(None);
    }
    let patience = tokio::select! {
        () = shutdown.draining() => settings.drain,
        () = quit.notified() => Duration::ZERO,
    };
    is_ending.store(true, Ordering::Release);
    ready.send_replace(false);
    tracing::info!("draining");
    if let Some(telling) = telling {
        telling.abort();
        let _ = telling.await;
    }
    // Others turn elsewhere while what is under way is served.
    handle.tell_health(Some("its proxy is stopping".to_owned()));
    handle.flush().await;
    wind_down(data_plane, &shutdown, patience, tasks).await;
    reports.tell().await;
    Ok(())
}

/// Hands on what becomes known of the workload's health.
async fn tell_health(mut health: Health, client: xds::Handle) {
    loop {
        let known = health.borrow_and_update().clone();
        if let Some(unhealthy) = known {
            client.tell_health(unhealthy);
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Opens the files of access logs anew whenever SIGUSR1 asks for it, as those do who move logs away.
pub async fn reopen_logs(data_plane: Arc<DataPlane>) {
    let Ok(mut asked) = signal(SignalKind::user_defined1()) else { return };
    while asked.recv().await.is_some() {
        data_plane.reopen_logs();
    }
}

/// Lets connections end for as long as there is patience, then ends everything.
pub async fn wind_down(
    data_plane: Arc<DataPlane>,
    shutdown: &Shutdown,
    patience: Duration,
    tasks: Vec<JoinHandle<()>>,
) {
    tokio::select! {
        () = data_plane.drain(patience) => {}
        () = shutdown.ended() => {}
    }
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
    data_plane.stop();
}

pub async fn bind(address: SocketAddr) -> Result<TcpListener, ProxyError> {
    admin::bind(address).await.map_err(|error| ProxyError::Bind { address, error })
}

/// Says that the proxy is ready, unless it is ending: what others hear of that may change its own configuration.
fn says_ready(ready: watch::Sender<bool>, is_ending: Arc<AtomicBool>) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        ready.send_if_modified(|ready| !is_ending.load(Ordering::Acquire) && !std::mem::replace(ready, true));
    }
}

/// Begins to follow the control plane; `in_force` hears of each configuration that is.
async fn follow(
    settings: &Settings,
    identity: &Identity,
    data_plane: Arc<DataPlane>,
    in_force: impl Fn() + Clone + Send + Sync + 'static,
) -> Result<(xds::Client, xds::Handle), ProxyError> {
    let server = control_plane_id(&settings.trust_domain)?;
    let over_ads = ResourceSource { from: Source::Ads, fetch_timeout: Some(FETCH_TIMEOUT) };
    let options = xds::Options {
        node: settings.node(),
        server: Some(xds::Server {
            channel: channel(&settings.control_plane, identity, server),
            incremental: true,
            metadata: MetadataMap::new(),
            node_on_first_message_only: true,
        }),
        listeners: Some(over_ads.clone()),
        clusters: Some(over_ads),
        names: settings.dns.is_some(),
        copy: Some(xds::Copy::in_directory(&settings.state_dir.join("snapshot"))),
        hold: xds::Hold::All(FETCH_TIMEOUT),
        resources: xds::Resources::with_own_secrets(xds::OWN_SECRETS),
        stats: data_plane.stats.shard(),
        counted_as: Some(CONTROL_PLANE_CLUSTER),
    };
    let apply: xds::Apply = Box::new(move |snapshot| {
        let (data_plane, in_force) = (Arc::clone(&data_plane), in_force.clone());
        Box::pin(async move {
            let applied = data_plane.apply(snapshot).await;
            in_force();
            applied
        })
    });
    let (client, handle, _) = xds::Client::start(options, apply).await;
    Ok((client, handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_ends_is_not_made_ready_by_what_it_hears_meanwhile() {
        let (ready, is_ending) = (watch::Sender::new(false), Arc::new(AtomicBool::new(false)));
        let in_force = says_ready(ready.clone(), Arc::clone(&is_ending));
        in_force();
        assert!(*ready.borrow());
        is_ending.store(true, Ordering::Release);
        ready.send_replace(false);
        in_force();
        assert!(!*ready.borrow());
    }
}
