//! Workloads that were of no service when they told of their traffic. A registry may learn of the service later; what
//! was told until then is of it as well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::weft::v1 as wire;

use crate::names::{Names, workload_id};

/// Those beyond this number stay nodes of their own.
const MOST: usize = 2000;

/// By the ids of the nodes that stand for them.
#[derive(Debug, Default)]
pub struct Unplaced(HashMap<Arc<str>, wire::Workload>);

impl Unplaced {
    /// The node that a workload is part of, for something that will be kept.
    pub fn node(&mut self, workload: &wire::Workload, names: &Names) -> Arc<str> {
        let node = names.workload(workload);
        let is_placed = *node != *workload_id(&workload.namespace, &workload.name);
        if !is_placed && self.0.len() < MOST && !self.0.contains_key(&node) {
            self.0.insert(Arc::clone(&node), workload.clone());
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
