//! The listener where hosts check in by themselves, if one is asked for.

use std::io;
use std::sync::Arc;

use pilot::MeshConfig;
use registry::{Discovery, DiscoveryOptions, Registry};
use runtime::Clock;
use runtime::shutdown::Shutdown;
use store::Store;
use tokio::net::TcpListener;

use super::Options;
use crate::command::failure::{Exit, Failure};

/// The namespace of services that hosts check in for.
const NAMESPACE: &str = "default";
/// The word that lists of hosts are marked with: that program's own default.
const ENVIRONMENT: &str = "development";

/// The registry and where it is reached.
pub struct Registration {
    listener: TcpListener,
    hosts: Discovery,
}

impl Registration {
    pub async fn open(
        options: &Options,
        store: Arc<dyn Store>,
        mesh: &MeshConfig,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(address) = options.listen_registration else { return Ok(None) };
        let words = "--listen-registration needs a store of its own: what checks in here, other control planes would not \
                     see; leave out --store, or let the hosts join as workloads";
        anyhow::ensure!(!store.is_shared(), Failure::new(Exit::Usage, words));
        let listener = web::bind(address).await?;
        let kept = DiscoveryOptions {
            domain: mesh.domain.clone(),
            namespace: NAMESPACE.into(),
            time_to_live: options.registration_ttl,
        };
        tracing::info!(address = %listener.local_addr()?, "hosts can check in");
        Ok(Some(Self { listener, hosts: Discovery::open(store, kept, clock).await? }))
    }

    pub fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(self.hosts.clone())
    }

    /// Serves until drained; where nothing was asked for there is nothing to serve.
    pub async fn serve(registration: Option<Self>, shutdown: Shutdown) -> io::Result<()> {
        let Some(Self { listener, hosts }) = registration else { return Ok(()) };
        web::serve_registration(listener, hosts, ENVIRONMENT, shutdown).await
    }
}
