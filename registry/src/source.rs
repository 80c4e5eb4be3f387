//! The seam that platforms plug into: a registry is a name and a stream of events.

use std::pin::Pin;

use futures_util::Stream;

use crate::model::{Endpoint, Service, ServiceKey};

/// One change in a registry. Endpoint changes are their own event, so that they never rebuild services.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A service appeared or its description changed.
    Service(Service),
    ServiceGone(ServiceKey),
    /// The whole set of endpoints that this registry now knows for a service. It may come before the service does.
    Endpoints(ServiceKey, Vec<Endpoint>),
    /// All that the platform says and the mesh cannot use, in an operator's words; the whole list each time.
    Findings(Vec<String>),
    /// All that the registry knows has been told; changes follow.
    Synced,
    /// The platform is out of reach for this reason. What was told stays in force, marked stale, until `Synced`.
    Lost(String),
}

pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A platform that knows services.
pub trait Registry: Send + Sync {
    /// The name shown as provenance: `static`, `agents`, `consul`.
    fn name(&self) -> &str;

    /// All that is known, then `Synced`, then every change. The stream ends only with the registry.
    fn watch(&self) -> EventStream;
}
