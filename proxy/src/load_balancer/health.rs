//! How much of the traffic each priority gets (Envoy, priority levels): a priority counts as fully healthy until more
//! than 1/1.4 of its hosts are lost; what it cannot take spills over to the next.

/// Hosts of a priority: how many, and how many of them are healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub healthy: usize,
    pub total: usize,
}

/// Percent of its load that a priority can take.
fn availability(census: Census) -> u32 {
    if census.total == 0 {
        return 0;
    }
    u32::try_from((140 * census.healthy / census.total).min(100)).unwrap_or(100)
}

/// Percent of the traffic for each priority; they add up to 100 unless there are no hosts at all.
pub fn loads(priorities: &[Census]) -> Vec<u32> {
    let sum: u32 = priorities.iter().map(|census| availability(*census)).sum();
    if sum == 0 {
        return by_size(priorities);
    }
    let whole = sum.min(100);
    let mut left = 100;
    let mut loads: Vec<u32> = Vec::with_capacity(priorities.len());
    for census in priorities {
        let load = (availability(*census) * 100 / whole).min(left);
        left -= load;
        loads.push(load);
    }
    // Rounding leaves a few percent: they go to the first priority that takes any.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

/// Nothing is healthy: everything gets traffic, by its number of hosts.
fn by_size(priorities: &[Census]) -> Vec<u32> {
    let hosts: usize = priorities.iter().map(|census| census.total).sum();
    let mut loads: Vec<u32> =
        priorities.iter().map(|census| u32::try_from(100 * census.total / hosts.max(1)).unwrap_or(0)).collect();
    let given: u32 = loads.iter().sum();
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += 100 - given;
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 100 hosts each.
    fn shares(healthy: &[usize]) -> Vec<u32> {
        loads(&healthy.iter().map(|healthy| Census { healthy: *healthy, total: 100 }).collect::<Vec<_>>())
    }

    #[test]
    fn load_spills_over_as_health_falls() {
        assert_eq!(shares(&[100, 100]), [100, 0]);
        assert_eq!(shares(&[72, 100]), [100, 0]);
        assert_eq!(shares(&[71, 100]), [99, 1]);
        assert_eq!(shares(&[50, 100]), [70, 30]);
        assert_eq!(shares(&[25, 100]), [35, 65]);
        assert_eq!(shares(&[0, 100]), [0, 100]);
        assert_eq!(shares(&[25, 25, 100]), [35, 35, 30]);
        assert_eq!(shares(&[20, 20]), [50, 50]);
    }

    #[test]
    fn where_nothing_is_healthy_all_hosts_share() {
        assert_eq!(shares(&[0, 0]), [50, 50]);
        let sizes = [Census { healthy: 0, total: 1 }, Census { healthy: 0, total: 3 }];
        assert_eq!(loads(&sizes), [25, 75]);
        assert_eq!(loads(&[]), [0; 0]);
        assert_eq!(loads(&[Census { healthy: 0, total: 0 }]), [0]);
    }
}
