//! Success rates: hosts that fail more often than most others, or than they may, in an interval.

use std::cell::Cell;

use super::{Cause, Verdict};
use crate::config::OutlierDetection;

/// Requests of an interval and how many of them went well: what the host answered, and what never reached it where the
/// two are told apart.
#[derive(Debug, Default)]
pub struct Rates {
    answers: Cell<Tally>,
    connections: Cell<Tally>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub good: u32,
    pub all: u32,
}

impl Tally {
    fn with(self, good: bool) -> Self {
        Self { good: self.good.saturating_add(u32::from(good)), all: self.all.saturating_add(1) }
    }

    pub fn percent(self) -> f64 {
        100.0 * f64::from(self.good) / f64::from(self.all.max(1))
    }
}

impl Rates {
    pub fn count(&self, verdict: Verdict, split: bool) {
        if split {
            self.connections.set(self.connections.get().with(verdict != Verdict::LocalOrigin));
        }
        if !split || verdict != Verdict::LocalOrigin {
            self.answers.set(self.answers.get().with(verdict == Verdict::Good));
        }
    }

    /// What was counted, of answers and of connections; the next interval begins.
    pub fn take(&self) -> [Tally; 2] {
        [self.answers.take(), self.connections.take()]
    }
}

/// A host that stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub host: usize,
    pub cause: Cause,
    /// How many of a hundred such cases eject.
    pub percent: u32,
}

/// What an interval says of all hosts together: the mean of their success rates, and the rate below which one stands
/// out. `None` where too few hosts had enough requests.
pub type Summary = Option<(f64, f64)>;

/// Judges an interval: hosts that stand out, and what is shown of the rates of answers and of connections.
pub fn judge(tallies: &[[Tally; 2]], settings: &OutlierDetection) -> (Vec<Found>, [Summary; 2]) {
    let (rate, failures) = (&settings.success_rate, &settings.failure_percentage);
    let (mut found, mut summaries) = (Vec::new(), [None; 2]);
    for (kind, [(by_rate, enforcing_rate), (by_failures, enforcing_failures)]) in [
        [(Cause::SuccessRate, rate.enforcing), (Cause::FailurePercentage, failures.enforcing)],
        [
            (Cause::LocalOriginSuccessRate, rate.enforcing_local_origin),
            (Cause::LocalOriginFailurePercentage, failures.enforcing_local_origin),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        let of = |volume: u32| -> Vec<(usize, f64)> {
            let tallies = tallies.iter().map(|tally| tally[kind]).enumerate();
            let enough = tallies.filter(|(_, tally)| tally.all > 0 && tally.all >= volume);
            enough.map(|(host, tally)| (host, tally.percent())).collect()
        };
        let rates = of(rate.request_volume);
        if !rates.is_empty() && rates.len() >= rate.minimum_hosts as usize {
            let (mean, least) = least_of(&rates, rate.stdev_factor);
            summaries[kind] = Some((mean, least));
            let below = rates.iter().filter(|(_, rate)| *rate < least);
            found.extend(below.map(|(host, _)| Found { host: *host, cause: by_rate, percent: enforcing_rate }));
        }
        let rates = of(failures.request_volume);
        if rates.len() >= failures.minimum_hosts as usize {
            let failing = rates.iter().filter(|(_, rate)| 100.0 - rate >= f64::from(failures.threshold));
            found.extend(failing.map(|(host, _)| Found {
                host: *host,
                cause: by_failures,
                percent: enforcing_failures,
            }));
        }
    }
    (found, summaries)
}

/// The mean, and the mean less so many thousandths of the standard deviation.
fn least_of(rates: &[(usize, f64)], stdev_factor: u32) -> (f64, f64) {
    let count = rates.len().max(1) as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - f64::from(stdev_factor) / 1000.0 * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FailurePercentage, SuccessRate};
    use std::time::Duration;

    fn settings(success_rate: SuccessRate, failure_percentage: FailurePercentage) -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: (5, 100),
            consecutive_gateway_failure: (5, 0),
            consecutive_local_origin_failure: (5, 100),
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 100,
            always_eject_one_host: false,
            readmit_on_passed_check: true,
            success_rate,
            failure_percentage,
        }
    }

    fn hosts(good: &[u32]) -> Vec<[Tally; 2]> {
        good.iter().map(|good| [Tally { good: *good, all: 100 }, Tally::default()]).collect()
    }

    /// Hosts that are to be ejected, with the percentage of such cases.
    fn outliers(tallies: &[[Tally; 2]], settings: &OutlierDetection) -> Vec<(usize, u32)> {
        let enforced = judge(tallies, settings).0.into_iter().filter(|found| found.percent > 0);
        enforced.map(|found| (found.host, found.percent)).collect()
    }

    #[test]
    fn the_mean_and_the_least_rate_are_told_and_what_is_not_enforced_is_found_all_the_same() {
        let rates = SuccessRate { enforcing: 0, stdev_factor: 1000, ..SuccessRate::default() };
        let settings = settings(rates, FailurePercentage::default());
        let (found, summaries) = judge(&hosts(&[100, 100, 100, 100, 50]), &settings);
        assert_eq!(found, [Found { host: 4, cause: Cause::SuccessRate, percent: 0 }]);
        assert_eq!(summaries, [Some((90.0, 70.0)), None]);
    }

    #[test]
    fn a_host_that_fails_more_often_than_the_others_stands_out() {
        let settings = settings(SuccessRate::default(), FailurePercentage::default());
        assert_eq!(outliers(&hosts(&[100, 100, 100, 100, 50]), &settings), [(4, 100)]);
        assert_eq!(outliers(&hosts(&[90, 91, 92, 93, 94]), &settings), []);
        assert_eq!(outliers(&hosts(&[100, 100, 100, 0]), &settings), [], "too few hosts");
        let mut idle = hosts(&[100, 100, 100, 100, 50]);
        idle[0][0].all = 99;
        assert_eq!(outliers(&idle, &settings), [], "too few requests");
    }

    #[test]
    fn a_host_that_fails_more_often_than_it_may_stands_out_where_that_is_enforced() {
        let failures = FailurePercentage { enforcing: 70, ..FailurePercentage::default() };
        let settings = settings(SuccessRate { enforcing: 0, ..SuccessRate::default() }, failures);
        assert_eq!(outliers(&hosts(&[0, 15, 16, 100, 100]), &settings), [(0, 70), (1, 70)]);
    }

    #[test]
    fn what_never_reached_a_host_is_told_apart_where_that_is_asked_for() {
        let rates = Rates::default();
        [Verdict::Good, Verdict::ServerError, Verdict::LocalOrigin]
            .iter()
            .for_each(|verdict| rates.count(*verdict, true));
        assert_eq!(rates.take(), [Tally { good: 1, all: 2 }, Tally { good: 2, all: 3 }]);
        rates.count(Verdict::LocalOrigin, false);
        assert_eq!(rates.take(), [Tally { good: 0, all: 1 }, Tally::default()]);
    }
}
