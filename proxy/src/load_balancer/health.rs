//! How much of the traffic each priority gets (Envoy, priority levels, degraded endpoints, panic threshold): a priority
//! counts as fully available until more than 1/1.4 of its hosts are lost; what it cannot take spills over to the next,
//! and to degraded hosts only when all healthy ones are not enough.

/// What is known of a host before anything is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Takes what healthy hosts cannot.
    Degraded,
    Unhealthy,
    /// Not known yet, and not counted until it is.
    Pending,
}

/// Hosts of a priority, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub healthy: usize,
    pub degraded: usize,
    /// Those that count for the share that is healthy.
    pub known: usize,
    pub total: usize,
}

/// How much of all traffic a priority could take, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Available {
    pub healthy: u32,
    pub degraded: u32,
}

impl Census {
    /// `factor`: percent of overprovisioning.
    pub fn available(&self, factor: u32) -> Available {
        let percent = |count: usize| match self.known {
            0 => 0,
            known => u32::try_from((factor as usize * count / known).min(100)).unwrap_or(100),
        };
        Available { healthy: percent(self.healthy), degraded: percent(self.degraded) }
    }
}

/// The share of a priority, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub healthy: u32,
    pub degraded: u32,
    /// So few hosts are well that all are used alike.
    pub panic: bool,
}

/// `factor`: percent of overprovisioning. `threshold`: percent of hosts that must be well. All shares add up to 100.
pub fn loads(priorities: &[Census], factor: u32, threshold: f64) -> Vec<Load> {
    let available: Vec<Available> = priorities.iter().map(|census| census.available(factor)).collect();
    let whole = whole(&available);
    let mut loads = distribute(&available);
    panic(priorities, whole, threshold, &mut loads);
    loads
}

fn whole(available: &[Available]) -> u32 {
    available.iter().map(|available| available.healthy + available.degraded).sum::<u32>().min(100)
}

/// Shares as availability allows, whoever is in a panic; all are 0 where nothing is available.
pub fn distribute(available: &[Available]) -> Vec<Load> {
    let whole = whole(available);
    let mut loads = vec![Load::default(); available.len()];
    if whole == 0 {
        return loads;
    }
    let mut left = 100;
    for (load, available) in loads.iter_mut().zip(available) {
        load.healthy = share(available.healthy, whole, &mut left);
    }
    for (load, available) in loads.iter_mut().zip(available) {
        load.degraded = share(available.degraded, whole, &mut left);
    }
    // Rounding leaves a few percent: they go to the first priority that takes any.
    if let Some(first) = available.iter().position(|available| available.healthy > 0) {
        loads[first].healthy += left;
    } else if let Some(first) = available.iter().position(|available| available.degraded > 0) {
        loads[first].degraded += left;
    }
    loads
}

fn share(availability: u32, whole: u32, left: &mut u32) -> u32 {
    let share = (availability * 100 / whole).min(*left);
    *left -= share;
    share
}

/// As long as all priorities together can take everything there is no panic in any.
fn panic(priorities: &[Census], whole: u32, threshold: f64, loads: &mut [Load]) {
    if threshold == 0.0 && whole == 0 {
        if let Some(first) = loads.first_mut() {
            first.healthy = 100;
        }
        return;
    }
    for (load, census) in loads.iter_mut().zip(priorities) {
        let well = match census.known {
            0 => 0.0,
            known => 100.0 * (census.healthy + census.degraded) as f64 / known as f64,
        };
        load.panic = whole < 100 && well < threshold;
    }
    if loads.iter().all(|load| load.panic) {
        by_size(priorities, loads);
    }
}

/// Panic everywhere: everything gets traffic, by its number of hosts.
fn by_size(priorities: &[Census], loads: &mut [Load]) {
    let hosts: usize = priorities.iter().map(|census| census.total).sum();
    let mut left = 100;
    for (load, census) in loads.iter_mut().zip(priorities) {
        let share = u32::try_from((100 * census.total).checked_div(hosts).unwrap_or(0)).unwrap_or(0);
        *load = Load { healthy: share, degraded: 0, panic: true };
        left -= share;
    }
    let first = priorities.iter().position(|census| census.total > 0).unwrap_or(0);
    if let Some(first) = loads.get_mut(first) {
        first.healthy += left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(healthy: usize, degraded: usize, total: usize) -> Census {
        Census { healthy, degraded, known: total, total }
    }

    /// Of 100 hosts each.
    fn shares(healthy: &[usize]) -> Vec<u32> {
        let priorities: Vec<_> = healthy.iter().map(|healthy| census(*healthy, 0, 100)).collect();
        loads(&priorities, 140, 50.0).iter().map(|load| load.healthy).collect()
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
    fn another_factor_spills_over_earlier_or_later() {
        let priorities = [census(50, 0, 100), census(100, 0, 100)];
        let healthy = |factor| loads(&priorities, factor, 50.0).iter().map(|load| load.healthy).collect::<Vec<_>>();
        assert_eq!(healthy(100), [50, 50]);
        assert_eq!(healthy(200), [100, 0]);
    }

    #[test]
    fn degraded_hosts_take_what_healthy_ones_of_all_priorities_cannot() {
        let found = loads(&[census(30, 70, 100), census(20, 0, 100)], 100, 0.0);
        assert_eq!(found.iter().map(|load| (load.healthy, load.degraded)).collect::<Vec<_>>(), [(30, 50), (20, 0)]);
    }

    #[test]
    fn where_nothing_is_healthy_all_hosts_share() {
        assert_eq!(shares(&[0, 0]), [50, 50]);
        let found = loads(&[census(0, 0, 1), census(0, 0, 3)], 140, 50.0);
        assert_eq!(found.iter().map(|load| (load.healthy, load.panic)).collect::<Vec<_>>(), [(25, true), (75, true)]);
        assert_eq!(loads(&[], 140, 50.0), []);
        assert_eq!(loads(&[census(0, 0, 0)], 140, 50.0)[0].healthy, 100);
    }

    #[test]
    fn there_is_no_panic_while_another_priority_can_take_it_all_and_none_where_it_is_off() {
        let found = loads(&[census(1, 0, 10), census(10, 0, 10)], 140, 50.0);
        assert_eq!(found.iter().map(|load| (load.healthy, load.panic)).collect::<Vec<_>>(), [(14, false), (86, false)]);
        assert!(!loads(&[census(0, 0, 3)], 140, 0.0)[0].panic);
    }
}
