//! A registry that is followed, as the catalog follows it: what it told, and what stands.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use registry::{
    Catalog, Consul, ConsulEnvironment, ConsulOptions, Endpoint, Entry, Event, EventStream, Merger, Registry as _,
    RegistryState, ServiceKey,
};

pub struct Followed {
    stream: EventStream,
    merger: Merger,
    /// Everything told so far.
    pub events: Vec<Event>,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Followed {
    pub fn new(url: &str) -> Self {
        let options = ConsulOptions::parse(url, &ConsulEnvironment::default()).unwrap();
        let consul = Consul::open("consul", "cluster.local", options).unwrap();
        Self { stream: consul.watch(), merger: Merger::new(["consul"]), events: Vec::new() }
    }

    /// Follows until the catalog is as wanted.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Catalog) -> bool) {
        let stream = &mut self.stream;
        let (merger, events) = (&mut self.merger, &mut self.events);
        let followed = async {
            while !holds(merger.catalog()) {
                let event = Pin::new(&mut *stream).next().await.expect("a registry tells for ever");
                events.push(event.clone());
                merger.apply(0, event);
            }
        };
        let reached = tokio::time::timeout(PATIENCE, followed).await.is_ok();
        assert!(reached, "{what} did not come about; the catalog is {:#?}", self.merger.catalog());
    }

    pub async fn synced(&mut self) {
        self.until("being in step", |catalog| catalog.registries[0].state == RegistryState::Synced).await;
    }

    pub async fn lost(&mut self) -> String {
        self.until("the loss", |catalog| matches!(catalog.registries[0].state, RegistryState::Stale(_))).await;
        match &self.merger.catalog().registries[0].state {
            RegistryState::Stale(reason) => reason.clone(),
            state => panic!("{state:?}"),
        }
    }

    pub fn catalog(&self) -> &Catalog {
        self.merger.catalog()
    }

    /// Addresses with health, of a service in the namespace default.
    pub fn endpoints(&self, service: &str) -> Vec<String> {
        endpoints(self.catalog(), service)
    }
}

pub fn key(service: &str) -> ServiceKey {
    ServiceKey::new(api::Hostname::new(&format!("{service}.default.svc.cluster.local")).unwrap(), "default")
}

pub fn entry<'a>(catalog: &'a Catalog, service: &str) -> Option<&'a Entry> {
    catalog.get(&key(service))
}

pub fn endpoints(catalog: &Catalog, service: &str) -> Vec<String> {
    let shown = |endpoint: &Endpoint| format!("{} {}", endpoint.address, endpoint.health.as_str());
    entry(catalog, service).map(|entry| entry.endpoints.iter().map(shown).collect()).unwrap_or_default()
}
