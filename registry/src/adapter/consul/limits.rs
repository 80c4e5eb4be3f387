//! How much is asked of one Consul at a time, and by which way its changes are found.

use std::time::Duration;

use tokio::sync::Semaphore;

/// Queries that read the state now, at a time.
const READS: usize = 16;
/// What follows the names of services, the nodes, and the checks that are critical or warn; and some to spare.
const KEPT: usize = 6;

/// How changes are found. Consul allows one address 200 connections, and a query that waits holds one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// A query waits for each service.
    Services,
    /// A query waits for each node, and one each for the checks that are critical and that warn: together they tell
    /// which services to read anew.
    Nodes,
    /// More services and more nodes than queries may wait: where the catalog says that something changed, each service
    /// is asked for the index of its last change.
    Search,
}

pub(super) struct Limits {
    pub reads: Semaphore,
    /// How long a query waits.
    pub wait: Duration,
    /// Queries that may wait for a service or node each.
    places: usize,
}

impl Limits {
    /// For a server that takes this many queries at a time.
    pub fn new(queries: usize, wait: Duration) -> Self {
        let reads = READS.min(queries / 4).max(1);
        Self { reads: Semaphore::new(reads), wait, places: queries.saturating_sub(reads + KEPT).max(1) }
    }

    /// How so many services are followed that are on so many nodes, where that is known. Who goes another way comes back
    /// only once there is room to spare, so that one service more or less does not change the way each time.
    pub fn way(&self, now: Option<Way>, services: usize, nodes: Option<usize>) -> Option<Way> {
        let spare = self.places - self.places / 8;
        let room = |way| if now.is_none_or(|now| now == way) { self.places } else { spare };
        if services <= room(Way::Services) {
            return Some(Way::Services);
        }
        Some(if nodes? <= room(Way::Nodes) { Way::Nodes } else { Way::Search })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewer_of_services_and_nodes_are_waited_for() {
        let limits = Limits::new(150, Duration::from_secs(55));
        assert_eq!(limits.way(None, 128, None), Some(Way::Services));
        assert_eq!(limits.way(None, 1_000, None), None);
        assert_eq!(limits.way(None, 1_000, Some(100)), Some(Way::Nodes));
        assert_eq!(limits.way(None, 1_000, Some(1_000)), Some(Way::Search));
    }

    #[test]
    fn the_way_is_changed_back_only_with_room_to_spare() {
        let limits = Limits::new(150, Duration::from_secs(55));
        assert_eq!(limits.way(Some(Way::Services), 128, None), Some(Way::Services));
        assert_eq!(limits.way(Some(Way::Nodes), 128, Some(10)), Some(Way::Nodes));
        assert_eq!(limits.way(Some(Way::Nodes), 100, Some(10)), Some(Way::Services));
        assert_eq!(limits.way(Some(Way::Search), 1_000, Some(128)), Some(Way::Search));
    }
}
