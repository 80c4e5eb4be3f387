//! When a host changes sides, and how long to wait for the next check (Envoy, health checking).

use std::time::Duration;

use crate::config::{HealthCheck, Intervals};
use crate::load_balancer::Health;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed {
        /// The host says that it is not at its best.
        degraded: bool,
    },
    /// An answer that says no: it counts at once.
    Refused,
    /// No answer, or one that may be tried again.
    Failed,
}

/// What a check changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// The host is about to change sides.
    Pending,
    Done,
}

/// What the checks of a host so far say. A host is unhealthy until it passes one.
#[derive(Debug)]
pub struct Record {
    healthy: bool,
    degraded: bool,
    checked: bool,
    /// Checks in a row that speak against the side it is on.
    against: u32,
    change: Change,
}

impl Record {
    pub fn new() -> Self {
        Self { healthy: false, degraded: false, checked: false, against: 0, change: Change::None }
    }

    pub fn health(&self) -> Health {
        match (self.healthy, self.degraded) {
            (false, _) => Health::Unhealthy,
            (true, true) => Health::Degraded,
            (true, false) => Health::Healthy,
        }
    }

    /// The very first check decides alone if it passes.
    pub fn take(&mut self, outcome: Outcome, check: &HealthCheck) {
        let passed = matches!(outcome, Outcome::Passed { .. });
        if let Outcome::Passed { degraded } = outcome {
            self.degraded = degraded;
        }
        let first = !std::mem::replace(&mut self.checked, true);
        if passed == self.healthy {
            self.against = 0;
            self.change = if first { Change::Done } else { Change::None };
            return;
        }
        self.against += 1;
        let at_once = if passed { first } else { outcome == Outcome::Refused };
        let threshold = if passed { check.healthy_threshold } else { check.unhealthy_threshold };
        if at_once || self.against >= threshold {
            self.healthy = passed;
            self.against = 0;
            self.change = Change::Done;
        } else {
            self.change = Change::Pending;
        }
    }

    /// Until the next check. `used`: whether requests have gone to the cluster; `last` is what the last check said.
    pub fn pause(&self, last: Outcome, intervals: &Intervals, used: bool, random: u64) -> Duration {
        let passed = matches!(last, Outcome::Passed { .. });
        let base = match (used, passed, self.change) {
            (false, true, _) => intervals.no_traffic_healthy,
            (false, false, _) => intervals.no_traffic,
            (true, true, Change::None) => intervals.healthy,
            (true, true, _) => intervals.healthy_edge,
            (true, false, Change::None) => intervals.unhealthy,
            (true, false, _) => intervals.unhealthy_edge,
        };
        base + part(base * intervals.jitter_percent / 100, random) + part(intervals.jitter, random.rotate_left(32))
    }
}

/// A random part of a time.
pub fn part(time: Duration, random: u64) -> Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.checked_rem(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Probe;

    const PASSED: Outcome = Outcome::Passed { degraded: false };

    fn check() -> HealthCheck {
        let time = Duration::from_secs;
        HealthCheck {
            probe: Probe::Tcp { send: vec![], receive: vec![] },
            timeout: time(1),
            initial_jitter: time(0),
            intervals: Intervals {
                healthy: time(1),
                unhealthy: time(2),
                healthy_edge: time(3),
                unhealthy_edge: time(4),
                no_traffic: time(5),
                no_traffic_healthy: time(6),
                jitter: time(0),
                jitter_percent: 0,
            },
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            reuse_connection: true,
            alt_port: None,
        }
    }

    fn after(outcomes: &[Outcome]) -> (Health, Duration) {
        let mut record = Record::new();
        outcomes.iter().for_each(|outcome| record.take(*outcome, &check()));
        let last = *outcomes.last().unwrap_or(&PASSED);
        (record.health(), record.pause(last, &check().intervals, true, 0))
    }

    #[test]
    fn the_first_check_that_passes_is_enough_and_later_ones_must_add_up() {
        use Outcome::{Failed, Refused};
        let seconds = Duration::from_secs;
        assert_eq!(after(&[PASSED]), (Health::Healthy, seconds(3)));
        assert_eq!(after(&[PASSED, PASSED]), (Health::Healthy, seconds(1)));
        assert_eq!(after(&[PASSED, Failed, Failed]), (Health::Healthy, seconds(4)));
        assert_eq!(after(&[PASSED, Failed, Failed, PASSED, Failed, Failed]).0, Health::Healthy);
        assert_eq!(after(&[PASSED, Failed, Failed, Failed]), (Health::Unhealthy, seconds(4)));
        assert_eq!(after(&[PASSED, Refused]).0, Health::Unhealthy);
        assert_eq!(after(&[Failed, PASSED]), (Health::Unhealthy, seconds(3)));
        assert_eq!(after(&[Failed, PASSED, PASSED]), (Health::Healthy, seconds(3)));
        assert_eq!(after(&[Failed, Failed]), (Health::Unhealthy, seconds(2)));
        assert_eq!(after(&[Outcome::Passed { degraded: true }]).0, Health::Degraded);
    }

    #[test]
    fn a_cluster_without_traffic_is_checked_at_its_own_pace_and_jitter_is_added() {
        let mut record = Record::new();
        record.take(PASSED, &check());
        assert_eq!(record.pause(PASSED, &check().intervals, false, 0), Duration::from_secs(6));
        assert_eq!(record.pause(Outcome::Failed, &check().intervals, false, 0), Duration::from_secs(5));
        let jittered = Intervals { jitter_percent: 50, ..check().intervals };
        assert_eq!(record.pause(PASSED, &jittered, false, 1234), Duration::from_millis(6000 + 1234));
    }
}
