//! The listener where hosts check in by themselves, if one is asked for.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use pilot::MeshConfig;
use registry::{Discovery, DiscoveryOptions, Registry};
use runtime::Clock;
use runtime::shutdown::Shutdown;
use store::Store;
use tokio::net::TcpListener;
use web::{ApiTls, CheckIns};

use crate::command::check_in::CheckInOptions;
use crate::command::failure::{Exit, Failure};

/// The namespace of services that hosts check in for.
const NAMESPACE: &str = "default";
/// The word that lists of hosts are marked with: that program's own default.
const ENVIRONMENT: &str = "development";

/// The registry and where it is reached.
pub struct Registration {
    listener: TcpListener,
    hosts: Discovery,
    /// Only where others than this machine can call.
    tls: Option<ApiTls>,
    token: Option<String>,
}

impl Registration {
    pub async fn open(
        options: &CheckInOptions,
        tls: Option<ApiTls>,
        store: Arc<dyn Store>,
        mesh: &MeshConfig,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(address) = options.listen_registration else { return Ok(None) };
        let words = "--listen-registration needs a store of its own: what checks in here, other control planes would not \
                     see; leave out --store, or let the hosts join as workloads";
        anyhow::ensure!(!store.is_shared(), Failure::new(Exit::Usage, words));
        let token = options.token()?;
        let tls = tls.filter(|_| !address.ip().is_loopback() && token.is_some());
        let listener = match &tls {
            Some(_) => web::bind_any(address).await?,
            None => web::bind(address).await.context(
                "give --registration-token-file, --api-cert and --api-key, or another --listen-registration",
            )?,
        };
        let kept = DiscoveryOptions {
            domain: mesh.domain.clone(),
            namespace: NAMESPACE.into(),
            time_to_live: options.registration_ttl,
        };
        tracing::info!(address = %listener.local_addr()?, "hosts can check in");
        Ok(Some(Self { listener, hosts: Discovery::open(store, kept, clock).await?, tls, token }))
    }

    pub fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(self.hosts.clone())
    }

    pub fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Serves until drained; where nothing was asked for there is nothing to serve.
    pub async fn serve(registration: Option<Self>, shutdown: Shutdown) -> io::Result<()> {
        let Some(Self { listener, hosts, tls, token }) = registration else { return Ok(()) };
        web::serve_registration(listener, tls, CheckIns::new(hosts, ENVIRONMENT, token.as_deref(), shutdown)).await
    }
}
