//! A proxy that serves a bootstrap file: no mesh, no control plane, no identity but the certificates in the file.

use std::sync::Arc;

use runtime::shutdown::Shutdown;
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config::{Bootstrap, WorkloadRef};
use crate::connection_limit::ConnectionLimit;
use crate::data_plane::DataPlane;
use crate::run::{ProxyError, bind, wind_down};
use crate::tls::TlsSettings;

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
    let tls = TlsSettings { identity: None };
    let data_plane = DataPlane::start(concurrency, own(&bootstrap), tls, limit).map_err(ProxyError::Workers)?;
    let data_plane = Arc::new(data_plane);
    let serving = admin_socket.map(|socket| {
        let admin = Admin {
            data_plane: Arc::clone(&data_plane),
            identity: None,
            ready: ready.subscribe(),
            node: bootstrap.node.clone(),
        };
        tokio::spawn(admin::serve(socket, Arc::new(admin), false))
    });
    let served = match data_plane.apply(Arc::new(bootstrap.snapshot())).await {
        Ok(()) => {
            ready.send_replace(true);
            tracing::info!(listeners = bootstrap.listeners.len(), clusters = bootstrap.clusters.len(), "serving");
            shutdown.draining().await;
            ready.send_replace(false);
            tracing::info!("draining");
            Ok(())
        }
        Err(refused) => Err(ProxyError::Refused(refused)),
    };
    let patience = if served.is_ok() { std::time::Duration::MAX } else { std::time::Duration::ZERO };
    wind_down(data_plane, &shutdown, patience, serving.into_iter().collect()).await;
    served
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
