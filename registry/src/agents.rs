//! The registry `agents`: workloads that joined by themselves, and the services that they say they serve.
//!
//! A registration is kept in the store, so that a control plane that restarts knows it at once. It stays in force for
//! a grace period after the workload's last connection ended, or after a restart, and a workload that comes back
//! within it changes nothing but what is shown of it: that its agent is silent at once, and that its endpoints are
//! unhealthy once it has been so for a while, well before they go. Where most agents fell silent together it is likelier
//! that the control plane was cut off, and nobody is taken for gone before the grace ends. Control planes that share a store show each other's registrations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::model::{Health, Locality, Protocol};
use crate::source::{EventStream, Registry};
use crate::told;

mod book;
mod derive;
mod keeper;
mod sharing;
mod silence;

/// The registry's name, as provenance shows it.
const NAME: &str = "agents";

/// What a workload tells of itself. Its namespace and service account are those of its authenticated identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The member of the mesh that registers, where it is known: it is at one address at a time.
    pub member: Option<String>,
    pub workload: String,
    pub namespace: String,
    pub service_account: String,
    pub labels: BTreeMap<String, String>,
    /// Where its service ports are reached.
    pub address: IpAddr,
    pub locality: Locality,
    pub network: String,
    pub cluster: String,
    /// Share of traffic, at least 1.
    pub weight: u32,
    /// Until it is reported anew.
    pub health: Health,
    pub ports: Vec<RegisteredPort>,
}

/// One port that a workload serves.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredPort {
    /// A service's short name in the workload's namespace, or its whole host.
    pub service: String,
    pub port: u16,
    /// Where it is reached, if not at its own number: the port of a proxy that takes connections for several workloads,
    /// and tells them apart by the service that they name.
    pub shared: Option<u16>,
    /// Empty: made of protocol and number.
    pub name: String,
    pub protocol: Protocol,
}

impl RegisteredPort {
    /// The port of the endpoint.
    pub fn endpoint(&self) -> u16 {
        self.shared.unwrap_or(self.port)
    }
}

/// Why a registration is refused: another connected workload has the address and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address}:{port} is registered by the workload {workload}, which is connected; stop that one, or take another address"
)]
pub struct Taken {
    pub address: IpAddr,
    pub port: u16,
    /// `reviews-v1.default`
    pub workload: String,
}

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct AgentsOptions {
    /// The mesh's DNS domain, under which short service names are.
    pub domain: String,
    /// How long a registration outlives its last connection.
    pub disconnect_grace: Duration,
    /// How long a workload that said no goodbye may be silent until its endpoints count as unhealthy (Istio gives
    /// workloads that register themselves as long).
    pub doubt_after: Duration,
    /// How long a registration found at a restart waits for its workload.
    pub restart_grace: Duration,
    /// The name of this control plane among those that share the store.
    pub replica: String,
}

impl Default for AgentsOptions {
    fn default() -> Self {
        Self {
            domain: "cluster.local".into(),
            disconnect_grace: Duration::from_secs(60),
            doubt_after: Duration::from_secs(10),
            restart_grace: Duration::from_secs(120),
            replica: String::new(),
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
    life: u64,
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

    /// Puts a registration in force; the same workload at the same address replaces its earlier one, and a member its
    /// own at another address.
    pub async fn register(&self, registration: Registration) -> Result<Attachment, Taken> {
        let key = Key::of(&registration);
        let life = self.ask(|reply| keeper::Message::Connected(registration, reply)).await.unwrap_or(Ok(0))?;
        Ok(Attachment { key, life, keeper: self.keeper.clone() })
    }

    /// Whether a registration would be taken now.
    pub async fn check(&self, registration: Registration) -> Result<(), Taken> {
        self.ask(|reply| keeper::Message::Check(registration, reply)).await.unwrap_or(Ok(()))
    }

    /// Forgets what a member registered, at once.
    pub async fn forget(&self, member: &str) {
        let _ = self.keeper.send(keeper::Message::Forget(member.to_owned()));
        self.settled().await;
    }

    /// `None` if the keeper has ended, which it does only with the process.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> keeper::Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let _ = self.keeper.send(message(reply));
        answer.await.ok()
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
        let (events, stream) = told::channel();
        let _ = self.keeper.send(keeper::Message::Watch(events));
        stream
    }
}

impl Attachment {
    /// Takes the workload's word for its health.
    pub fn report(&self, health: Health) {
        let _ = self.keeper.send(keeper::Message::Reported(self.key.clone(), health));
    }

    /// The same of a connection that has ended: the word on another one counts for more.
    pub fn report_last(&self, health: Health) {
        let _ = self.keeper.send(keeper::Message::ReportedLast(self.key.clone(), health));
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let _ = self.keeper.send(keeper::Message::Disconnected(self.key.clone(), self.life));
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
