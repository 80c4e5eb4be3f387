//! Workloads that were of no service when they told of their traffic. A registry may learn of the service later; what
//! was told until then is of it as well.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::weft::v1 as wire;

use crate::names::{Names, PREFIX, workload_id};

/// Those beyond this number stay nodes of their own.
const MOST: usize = 2000;

/// By the ids of the nodes that stand for them.
#[derive(Debug, Default)]
pub struct Unplaced(HashMap<Arc<str>, wire::Workload>);

impl Unplaced {
    /// The node that a workload is part of, for something that will be kept. What it says of itself counts more than what
    /// others do.
    pub fn own(&mut self, workload: &wire::Workload, names: &Names) -> Arc<str> {
        self.node(workload, names, |known, workload| *known = workload.clone())
    }

    /// The same, of a workload of which another one tells.
    pub fn peer(&mut self, workload: &wire::Workload, names: &Names) -> Arc<str> {
        self.node(workload, names, |known, workload| {
            if known.canonical_service.is_empty() {
                *known = workload.clone();
            }
        })
    }

    /// Of a workload of which no more is known than the node that stands for it, if that is one.
    pub fn named(&mut self, node: &Arc<str>) {
        if let Some((namespace, name)) = node.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) {
            let workload =
                wire::Workload { namespace: namespace.into(), name: name.into(), ..wire::Workload::default() };
            self.peer(&workload, &Names::default());
        }
    }

    fn node(
        &mut self,
        workload: &wire::Workload,
        names: &Names,
        again: impl FnOnce(&mut wire::Workload, &wire::Workload),
    ) -> Arc<str> {
        let node = names.workload(workload);
        if *node == *workload_id(&workload.namespace, &workload.name) {
            let has_room = self.0.len() < MOST;
            match self.0.entry(Arc::clone(&node)) {
                Entry::Occupied(mut known) => again(known.get_mut(), workload),
                Entry::Vacant(place) if has_room => drop(place.insert(workload.clone())),
                Entry::Vacant(_) => {}
            }
        }
        node
    }

    /// Those that are part of a service by now: its node, by the one that stood for the workload.
    pub fn take_placed(&mut self, names: &Names) -> HashMap<Arc<str>, Arc<str>> {
        let mut placed = HashMap::new();
        self.0.retain(|id, workload| {
            let node = names.workload(workload);
            let stays = node == *id;
            if !stays {
                placed.insert(Arc::clone(id), node);
            }
            stays
        });
        placed
    }

    /// Whether it is time to let go of those of which nothing is kept.
    pub fn is_crowded(&self) -> bool {
        self.0.len() >= MOST / 2
    }

    pub fn retain(&mut self, kept: &HashSet<&str>) {
        self.0.retain(|id, _| kept.contains(&**id));
    }
}
