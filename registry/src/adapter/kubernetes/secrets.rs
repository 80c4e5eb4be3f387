//! The Secrets of type `kubernetes.io/tls` in the namespace of gateways, as certificates that gateways can show.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::ByteString;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::follow::{Change, Collection, Pace, Versioned, follow};
use super::objects::Meta;
use super::{Cluster, index::ROOT_NAMESPACE};
use crate::model::{Credential, Credentials};

/// What is read of a Secret; everything else in it is skipped while it is parsed.
#[derive(Clone, Deserialize)]
struct Secret {
    metadata: Meta,
    #[serde(default)]
    data: Data,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(rename = "tls.crt")]
    chain: Option<ByteString>,
    #[serde(rename = "tls.key")]
    key: Option<ByteString>,
    #[serde(rename = "ca.crt")]
    ca: Option<ByteString>,
}

impl Versioned for Secret {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.metadata.name)
    }
}

impl Secret {
    fn named(self) -> Option<((String, String), Arc<Credential>)> {
        let key = self.metadata.key();
        let given =
            |bytes: Option<ByteString>| bytes.map(|bytes| Bytes::from(bytes.0)).filter(|bytes| !bytes.is_empty());
        let (chain, private, ca) = (given(self.data.chain)?, given(self.data.key)?, given(self.data.ca));
        Some((key, Arc::new(Credential { chain, key: private, ca })))
    }
}

/// Follows the certificates of gateways, which are in the namespace `istio-system`, until nobody listens.
pub fn credentials(cluster: Cluster, pace: Pace) -> watch::Receiver<Arc<Credentials>> {
    let (publish, credentials) = watch::channel(Arc::new(Credentials { is_pending: true, ..Credentials::default() }));
    let (tell, told) = mpsc::channel(64);
    tokio::spawn(take(cluster.name().to_owned(), told, publish));
    tokio::spawn(async move {
        let path = format!("/api/v1/namespaces/{ROOT_NAMESPACE}/secrets");
        let of_type = Some("type=kubernetes.io/tls");
        let collection = Collection { field_selector: of_type, ..Collection::whole(&path) };
        follow::<Secret>(cluster, collection, pace, tell).await;
    });
    credentials
}

async fn take(cluster: String, mut told: mpsc::Receiver<Change<Secret>>, publish: watch::Sender<Arc<Credentials>>) {
    let mut now = Credentials { is_pending: true, ..Credentials::default() };
    let mut is_lost = false;
    loop {
        let change = tokio::select! {
            change = told.recv() => change,
            () = publish.closed() => None,
        };
        match change {
            None => return,
            Some(Change::All(secrets)) => {
                now =
                    Credentials { is_pending: false, by_name: secrets.into_iter().filter_map(Secret::named).collect() };
            }
            Some(Change::Set(secret)) => {
                let key = secret.metadata.key();
                match secret.named() {
                    Some((key, credential)) => drop(now.by_name.insert(key, credential)),
                    None => drop(now.by_name.remove(&key)),
                }
            }
            Some(Change::Gone(secret)) => drop(now.by_name.remove(&secret.metadata.key())),
            Some(Change::InStep) => is_lost = false,
            Some(Change::Missing) => {}
            Some(Change::Lost(why)) => {
                if !std::mem::replace(&mut is_lost, true) {
                    tracing::warn!(cluster, "the certificates of gateways stay as they are: {why}");
                }
            }
        }
        publish.send_if_modified(|known| {
            let changed = **known != now;
            if changed {
                *known = Arc::new(now.clone());
            }
            changed
        });
    }
}
