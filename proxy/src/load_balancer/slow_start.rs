//! Slow start (Envoy `SlowStartConfig`): a host that is new, or healthy again, gets its share little by little.

use std::time::Duration;

use crate::config::SlowStart;

impl SlowStart {
    /// The part of its weight that a host has after that time.
    pub(super) fn factor(&self, healthy_for: Duration) -> f64 {
        if healthy_for >= self.window {
            return 1.0;
        }
        let passed = healthy_for.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let part = if self.aggression == 1.0 { passed } else { passed.powf(1.0 / self.aggression) };
        part.max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_warms_up_to_its_whole_weight_and_begins_with_a_part() {
        let slow = |aggression| SlowStart { window: Duration::from_secs(100), aggression, least: 0.1 };
        let after = |aggression, seconds| slow(aggression).factor(Duration::from_secs(seconds));
        assert_eq!([0, 5, 50, 100, 200].map(|seconds| after(1.0, seconds)), [0.1, 0.1, 0.5, 1.0, 1.0]);
        assert!((after(2.0, 25) - 0.5).abs() < 1e-9);
    }
}
