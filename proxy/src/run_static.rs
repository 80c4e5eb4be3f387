//! A proxy that serves a bootstrap file, and what the server and the files give it that the file names. It has no
//! identity but the certificates of its configuration.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::envoy::config::core::v3::Node;
use runtime::shutdown::Shutdown;
use tokio::sync::{Notify, oneshot, watch};

use crate::admin::{self, Admin};
use crate::config::{Bootstrap, WorkloadRef};
use crate::connection_limit::ConnectionLimit;
use crate::control_plane;
use crate::data_plane::DataPlane;
use crate::forward::STRIPS_FRAGMENTS;
use crate::run::{ProxyError, bind, reopen_logs, wind_down};
use crate::settings;
use crate::stats::Shard;
use crate::tls::TlsSettings;
use crate::xds;

/// Runs a proxy until it is told to end. `ready` becomes true once the configuration is in force.
pub async fn run_static(
    bootstrap: Bootstrap,
    concurrency: usize,
    shutdown: Shutdown,
    ready: watch::Sender<bool>,
) -> Result<(), ProxyError> {
    let admin_socket = match bootstrap.admin {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let limit = ConnectionLimit::new(bootstrap.max_connections);
    STRIPS_FRAGMENTS.store(bootstrap.runtime.strips_fragments, Ordering::Relaxed);
    let tls = TlsSettings { identity: None };
    let data_plane = DataPlane::start(concurrency, own(&bootstrap), tls, limit).map_err(ProxyError::Workers)?;
    let data_plane = Arc::new(data_plane);
    let (first, outcome) = oneshot::channel();
    let apply = apply(Arc::clone(&data_plane), ready.clone(), first);
    let (node, all_static) = (node(&bootstrap), bootstrap.dynamic.listeners.is_none());
    let view = bootstrap.stats.clone();
    let (file, quit) = (bootstrap.file.clone(), Arc::new(Notify::new()));
    let (client, resources, _) = xds::Client::start(options(bootstrap, data_plane.stats.shard()), apply).await;
    let mut tasks = vec![tokio::spawn(client.run()), tokio::spawn(reopen_logs(Arc::clone(&data_plane)))];
    if let Some(socket) = admin_socket {
        let admin = Admin {
            data_plane: Arc::clone(&data_plane),
            identity: None,
            ready: ready.subscribe(),
            node,
            view,
            resources,
            file,
            concurrency,
            started: Instant::now(),
            quit: Arc::clone(&quit),
            users: None,
        };
        tasks.push(tokio::spawn(admin::serve(socket, Arc::new(admin))));
    }
    let (refused, patience) = tokio::select! {
        Ok(Err(refused)) = outcome, if all_static => (Some(refused), Duration::ZERO),
        () = quit.notified() => (None, Duration::ZERO),
        () = shutdown.draining() => (None, Duration::MAX),
    };
    ready.send_replace(false);
    if !patience.is_zero() {
        tracing::info!("draining");
    }
    wind_down(data_plane, &shutdown, patience, tasks).await;
    refused.map_or(Ok(()), |refused| Err(ProxyError::Refused(refused)))
}

/// Tells the outcome of the first snapshot: what a file of static listeners asks for is there from the start, or the
/// proxy is not.
fn apply(
    data_plane: Arc<DataPlane>,
    ready: watch::Sender<bool>,
    first: oneshot::Sender<Result<(), String>>,
) -> xds::Apply {
    let first = Arc::new(Mutex::new(Some(first)));
    Box::new(move |snapshot| {
        let (data_plane, ready, first) = (Arc::clone(&data_plane), ready.clone(), Arc::clone(&first));
        Box::pin(async move {
            let (listeners, clusters) = (snapshot.listeners.len(), snapshot.clusters.len());
            let applied = data_plane.apply(snapshot).await;
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(first) = first {
                ready.send_replace(applied.is_ok());
                if applied.is_ok() {
                    tracing::info!(listeners, clusters, "serving");
                }
                let _ = first.send(applied.clone());
            }
            applied
        })
    })
}

fn options(bootstrap: Bootstrap, stats: Arc<Shard>) -> xds::Options {
    let server = bootstrap.dynamic.ads.as_ref();
    let server = server.and_then(|ads| control_plane::cluster::server(ads, &bootstrap.snapshot()));
    xds::Options {
        node: node(&bootstrap),
        server,
        copy: None,
        hold: xds::Hold::Each,
        resources: xds::Resources::of_file(&bootstrap.file),
        listeners: bootstrap.dynamic.listeners,
        clusters: bootstrap.dynamic.clusters,
        names: false,
        stats,
        counted_as: None,
    }
}

/// How the proxy introduces itself: as the file says, and who wrote it.
fn node(bootstrap: &Bootstrap) -> Node {
    let given = bootstrap.introduction.clone();
    Node { user_agent_name: "weft".to_owned(), user_agent_version_type: Some(settings::user_agent()), ..given }
}

/// Who stands in metrics for a proxy that is not in a mesh.
fn own(bootstrap: &Bootstrap) -> WorkloadRef {
    WorkloadRef {
        name: bootstrap.node.id.clone(),
        namespace: String::new(),
        canonical_service: bootstrap.node.cluster.clone(),
        canonical_revision: "latest".to_owned(),
        cluster: String::new(),
    }
}
