//! The connection to a server that is a cluster of the bootstrap file: gRPC to one of its endpoints after the other,
//! over what transport the cluster says.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Endpoint;

use super::{CONNECT, KEEP_ALIVE};
use crate::config::{Ads, Cluster, Discovery, LoadAssignment, Snapshot, UpstreamTls};
use crate::io::Io;
use crate::tls::TlsSettings;
use crate::upstream::{self, ClientTls, connect, resolve};
use crate::xds::Server;

/// How the server is reached. `None` if the cluster is not among the static ones, which a checked file rules out.
pub fn server(ads: &Ads, snapshot: &Snapshot) -> Option<Server> {
    let cluster = Arc::clone(snapshot.clusters.get(&ads.cluster)?);
    let tls = cluster.tls.as_ref().and_then(|tls| {
        let mut tls = UpstreamTls::clone(tls);
        if tls.common.alpn.is_empty() {
            tls.common.alpn.push("h2".to_owned());
        }
        ClientTls::build(&Arc::new(tls), &TlsSettings { identity: None }, snapshot)
    });
    let target = Arc::new(Target { cluster, tls, next: AtomicUsize::new(0) });
    let connector = tower::service_fn(move |_| {
        let target = Arc::clone(&target);
        async move { target.connect().await.map(TokioIo::new) }
    });
    let origin = Uri::builder().scheme("http").authority(ads.authority.as_str()).path_and_query("/").build();
    let endpoint = Endpoint::from_static("http://control-plane")
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let endpoint = match origin {
        Ok(origin) => endpoint.origin(origin),
        Err(_) => endpoint,
    };
    Some(Server {
        channel: endpoint.connect_with_connector_lazy(connector),
        incremental: ads.incremental,
        metadata: metadata(ads),
        node_on_first_message_only: ads.node_on_first_message_only,
    })
}

struct Target {
    cluster: Arc<Cluster>,
    tls: Option<Arc<ClientTls>>,
    next: AtomicUsize,
}

impl Target {
    /// To the next endpoint that takes a connection.
    async fn connect(&self) -> io::Result<Io> {
        // One of a bootstrap file may be anywhere.
        let refused = upstream::Refused::default();
        let assignment = match &self.cluster.discovery {
            Discovery::Static(given) => LoadAssignment::clone(given),
            Discovery::StrictDns(given) => resolve(given, false, &self.cluster, &refused).await,
            Discovery::LogicalDns(given) => resolve(given, true, &self.cluster, &refused).await,
            Discovery::Eds { .. } | Discovery::OriginalDst(_) | Discovery::DynamicForwardProxy(_) => {
                LoadAssignment::default()
            }
        };
        let endpoints: Vec<_> = assignment.localities.iter().flat_map(|locality| &locality.endpoints).collect();
        let mut failed = format!("the cluster {} has no endpoint", self.cluster.name);
        for _ in 0..endpoints.len() {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % endpoints.len();
            let address = &endpoints[turn].address;
            match connect(upstream::Target::plain(address, self.tls.as_ref()), &self.cluster).await {
                Ok(connected) => return Ok(connected.io),
                Err(error) => failed = format!("{address:?}: {error}"),
            }
        }
        Err(io::Error::other(failed))
    }
}

fn metadata(ads: &Ads) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in &ads.metadata {
        let key = MetadataKey::from_bytes(name.as_bytes());
        if let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value)) {
            map.append(key, value);
        }
    }
    map
}
