//! What would be in force after a change that was not made: for those who tell its effects beforehand.

use std::collections::{BTreeMap, BTreeSet};

use registry::{Catalog, Endpoint, Event, Merger, RegistryState};

use crate::diagnostic::Rejection;
use crate::galley::{Galley, checked, now};
use crate::object::ObjectKey;
use crate::snapshot::Snapshot;
use crate::static_registry::{StaticRegistry, translate};

/// What stands for all registries but the configuration's own.
const OTHERS: &str = "others";

impl Galley {
    /// What would be in force if the text were applied.
    pub fn preview(&self, text: &str, origin: &str) -> Result<Snapshot, Rejection> {
        let (documents, _) = checked(text, origin)?;
        Ok(self.shared.state.lock().preview(documents, &BTreeSet::new(), now()))
    }

    /// What would be in force if that object were deleted.
    pub fn preview_without(&self, key: &ObjectKey) -> Snapshot {
        let state = self.shared.state.lock();
        let rest = state.in_force().iter().filter(|(known, _)| *known != key);
        Snapshot::of(0, rest.map(|(_, loaded)| loaded.checked.clone()))
    }

    /// The documents of a text, as they would be kept.
    pub fn manifests(&self, text: &str, origin: &str) -> Result<BTreeMap<ObjectKey, serde_json::Value>, Rejection> {
        let (documents, _) = checked(text, origin)?;
        Ok(documents.into_iter().map(|document| (document.key, document.manifest)).collect())
    }

    /// The catalog as it would be if the configuration declared the services of this snapshot. Two that are made so
    /// can be compared with each other: what all other registries told is merged into one.
    pub fn catalog_with(&self, catalog: &Catalog, snapshot: &Snapshot) -> Catalog {
        let mut merger = Merger::new([StaticRegistry::NAME, OTHERS]);
        let is_own = |registry: &str| registry == StaticRegistry::NAME;
        for entry in catalog.entries() {
            let key = &entry.service.key;
            let others = entry.endpoints.iter().filter(|endpoint| !is_own(&endpoint.provenance.registry));
            let others: Vec<Endpoint> = others.cloned().collect();
            if !is_own(&entry.service.provenance.registry) || !others.is_empty() {
                merger.apply(1, Event::Service((*entry.service).clone()));
                merger.apply(1, Event::Endpoints(key.clone(), others));
            }
        }
        for (key, (service, endpoints)) in translate::declared(snapshot, &self.shared.options.domain) {
            merger.apply(0, Event::Service(service));
            merger.apply(0, Event::Endpoints(key, endpoints));
        }
        merger.apply(0, Event::Synced);
        merger.apply(1, Event::Synced);
        let merged = merger.catalog().clone();
        debug_assert!(merged.registries.iter().all(|registry| registry.state == RegistryState::Synced));
        merged
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::Memory;

    use super::*;
    use crate::{GalleyOptions, Kind};

    const ENTRY: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
";

    #[tokio::test]
    async fn a_preview_shows_what_would_be_and_changes_nothing() {
        let options = GalleyOptions {
            store: Arc::new(Memory::new()),
            directories: Vec::new(),
            domain: "cluster.local".to_owned(),
        };
        let galley = Galley::open(options).await.unwrap();
        let after = galley.preview(ENTRY, "x").unwrap();
        assert_eq!(after.service_entries.len(), 1);
        let catalog = galley.catalog_with(&Catalog::default(), &after);
        assert_eq!(catalog.entries().next().unwrap().service.host().as_str(), "api.example.com");
        assert!(galley.list(None, None).is_empty());

        galley.apply(ENTRY, "x", "ada").await.unwrap();
        let without = galley.preview_without(&ObjectKey::new(Kind::ServiceEntry, "default", "api"));
        assert!(without.service_entries.is_empty());
        let now = galley.snapshots().borrow().clone();
        assert_eq!(galley.catalog_with(&catalog, &now).entries().count(), 1);
        assert_eq!(galley.catalog_with(&catalog, &without).entries().count(), 0);
    }
}
