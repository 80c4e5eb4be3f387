//! The registry `agents`: workloads that joined by themselves, and the services that they say they serve.
//!
//! A registration is kept in the store, so that a control plane that restarts knows it at once. It stays in force for
//! a grace period after the workload's last connection ended, or after a restart, and a workload that comes back
//! within it changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::model::{Locality, Protocol};
use crate::source::{EventStream, Registry};

mod book;
mod derive;
mod keeper;

/// The registry's name, as provenance shows it.
const NAME: &str = "agents";

/// What a workload tells of itself. Its namespace and service account are those of its authenticated identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    pub workload: String,
    pub namespace: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// Where its service ports are reached.
    pub address: IpAddr,
    pub locality: Locality,
    pub cluster: String,
    pub ports: Vec<RegisteredPort>,
}

/// One port that a workload serves.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredPort {
    /// A service's short name in the workload's namespace, or its whole host.
    pub service: String,
    pub port: u16,
    pub protocol: Protocol,
}

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// The mesh's DNS domain, under which short service names are.
    pub domain: String,
    /// How long a registration outlives its last connection.
    pub disconnect_grace: Duration,
    /// How long a registration found at a restart waits for its workload.
    pub restart_grace: Duration,
}

impl Default for AgentsOptions {
    fn default() -> Self {
        Self {
            domain: "cluster.local".into(),
            disconnect_grace: Duration::from_secs(60),
            restart_grace: Duration::from_secs(120),
        }
    }
}

/// The registry. Cloning shares.
#[derive(Clone)]
pub struct Agents {
    keeper: mpsc::UnboundedSender<keeper::Message>,
}

/// A workload's connection: its registration is in force while this lives, and for the grace period after.
pub struct Attachment {
    key: Key,
    keeper: mpsc::UnboundedSender<keeper::Message>,
}

/// Replicas may share a workload's name, so the address belongs to the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    namespace: String,
    workload: String,
    address: IpAddr,
}

impl Agents {
    /// Reads the registrations that the store holds and starts to keep them (on the current tokio runtime).
    pub async fn open(store: Arc<dyn Store>, options: AgentsOptions) -> Result<Self, StoreError> {
        let (keeper, messages) = mpsc::unbounded_channel();
        let opened = keeper::Keeper::open(store, options).await?;
        tokio::spawn(opened.run(messages));
        Ok(Self { keeper })
    }

    /// Puts a registration in force; the same workload at the same address replaces its earlier one.
    pub fn register(&self, registration: Registration) -> Attachment {
        let key = Key::of(&registration);
        // The keeper ends only with the process.
        let _ = self.keeper.send(keeper::Message::Connected(registration));
        Attachment { key, keeper: self.keeper.clone() }
    }

    /// Resolves once everything registered so far is durable and told to watchers.
    pub async fn settled(&self) {
        let (reply, settled) = oneshot::channel();
        let _ = self.keeper.send(keeper::Message::Settle(reply));
        let _ = settled.await;
    }
}

impl Registry for Agents {
    fn name(&self) -> &str {
        NAME
    }

    fn watch(&self) -> EventStream {
        let (events, stream) = mpsc::unbounded_channel();
        let _ = self.keeper.send(keeper::Message::Watch(events));
        Box::pin(UnboundedReceiverStream::new(stream))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let _ = self.keeper.send(keeper::Message::Disconnected(self.key.clone()));
    }
}

impl Key {
    fn of(registration: &Registration) -> Self {
        Self {
            namespace: registration.namespace.clone(),
            workload: registration.workload.clone(),
            address: registration.address,
        }
    }

    /// Where the store keeps it.
    fn path(&self) -> String {
        format!("{PREFIX}{}/{}@{}", self.namespace, self.workload, self.address)
    }
}

/// Everything below it in the store is a registration.
const PREFIX: &str = "registration/";

#[cfg(test)]
mod tests;
