//! Outlier detection (Envoy `OutlierDetection`): hosts that fail, several times in a row or more often than the others,
//! are left out for a while, longer each time.

mod rates;

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::config::OutlierDetection;

pub use rates::{Rates, Summary, Tally, judge};

/// Why a host is ejected, in Envoy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    LocalOriginSuccessRate,
    FailurePercentage,
    LocalOriginFailurePercentage,
}

impl Cause {
    pub const ALL: [Self; 7] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGatewayFailure,
        Self::ConsecutiveLocalOriginFailure,
        Self::SuccessRate,
        Self::LocalOriginSuccessRate,
        Self::FailurePercentage,
        Self::LocalOriginFailurePercentage,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::LocalOriginSuccessRate => "local_origin_success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::LocalOriginFailurePercentage => "local_origin_failure_percentage",
        }
    }
}

/// How a host did, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// An answer with a 5xx status that is not a gateway's.
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No connection, or one that broke before the answer.
    LocalOrigin,
}

impl Verdict {
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ServerError,
            _ => Self::Good,
        }
    }
}

/// What this worker has seen of a host.
#[derive(Debug, Default)]
pub struct HealthRecord {
    server_errors: Cell<u32>,
    gateway_errors: Cell<u32>,
    local_origin_errors: Cell<u32>,
    pub rates: Rates,
    /// The percentages of the last interval that went well: of answers and of connections.
    pub success: Cell<[Option<f64>; 2]>,
    ejections: Cell<u32>,
    ejected: Cell<Option<Ejection>>,
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    since: Instant,
    until: Instant,
}

fn bump(count: &Cell<u32>) -> u32 {
    count.set(count.get().saturating_add(1));
    count.get()
}

impl HealthRecord {
    pub fn is_ejected(&self) -> bool {
        self.ejected.get().is_some()
    }

    /// Takes the outcome of a request. Tells of what there was too much in a row, with the percentage of such cases
    /// that eject.
    pub fn record(&self, verdict: Verdict, settings: &OutlierDetection) -> [Option<(Cause, u32)>; 2] {
        self.rates.count(verdict, settings.split_external_local_origin_errors);
        if verdict == Verdict::Good {
            self.forgive();
            return [None; 2];
        }
        let reached = |count: &Cell<u32>, (limit, percent): (u32, u32), cause: Cause| {
            let over = bump(count) >= limit && limit > 0;
            over.then(|| count.set(0)).map(|()| (cause, percent))
        };
        if settings.split_external_local_origin_errors {
            if verdict == Verdict::LocalOrigin {
                let limit = settings.consecutive_local_origin_failure;
                return [reached(&self.local_origin_errors, limit, Cause::ConsecutiveLocalOriginFailure), None];
            }
            self.local_origin_errors.set(0);
        }
        let server = reached(&self.server_errors, settings.consecutive_5xx, Cause::Consecutive5xx);
        let gateway = if verdict == Verdict::ServerError {
            self.gateway_errors.set(0);
            None
        } else {
            let limit = settings.consecutive_gateway_failure;
            reached(&self.gateway_errors, limit, Cause::ConsecutiveGatewayFailure)
        };
        [server, gateway]
    }

    fn forgive(&self) {
        for count in [&self.server_errors, &self.gateway_errors, &self.local_origin_errors] {
            count.set(0);
        }
    }

    /// `jitter` is added to the time.
    pub fn eject(&self, settings: &OutlierDetection, jitter: Duration, now: Instant) {
        let times = bump(&self.ejections);
        let time = settings.base_ejection_time.saturating_mul(times).min(settings.max_ejection_time);
        self.ejected.set(Some(Ejection { since: now, until: now + time + jitter }));
        self.forgive();
    }

    /// Takes the host back if its time is over, or if it has passed an active health check since; true if so.
    pub fn readmit(&self, passed: Option<Instant>, now: Instant) -> bool {
        let over = self
            .ejected
            .get()
            .is_some_and(|ejection| ejection.until <= now || passed.is_some_and(|passed| passed > ejection.since));
        if over {
            self.ejected.set(None);
        }
        over
    }

    /// An interval in good standing shortens the next ejection.
    pub fn relent(&self) {
        if !self.is_ejected() {
            self.ejections.set(self.ejections.get().saturating_sub(1));
        }
    }
}

/// Whether one more host may be ejected.
pub fn may_eject(ejected: usize, hosts: usize, settings: &OutlierDetection) -> bool {
    (ejected == 0 && hosts > 0 && settings.always_eject_one_host)
        || (ejected + 1) * 100 <= hosts * settings.max_ejection_percent as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FailurePercentage, SuccessRate};

    fn settings() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: (3, 100),
            consecutive_gateway_failure: (2, 0),
            consecutive_local_origin_failure: (2, 100),
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(50),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 50,
            always_eject_one_host: false,
            readmit_on_passed_check: true,
            success_rate: SuccessRate::default(),
            failure_percentage: FailurePercentage::default(),
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_forgives() {
        use Verdict::{GatewayError, Good, LocalOrigin, ServerError};
        let says = |settings: OutlierDetection, verdicts: &[Verdict]| {
            let record = HealthRecord::default();
            verdicts.iter().map(|verdict| record.record(*verdict, &settings)).collect::<Vec<_>>()
        };
        let none = [None; 2];
        let [server, local] =
            [Cause::Consecutive5xx, Cause::ConsecutiveLocalOriginFailure].map(|cause| Some((cause, 100)));
        let gateway = Some((Cause::ConsecutiveGatewayFailure, 0));
        assert_eq!(says(settings(), &[ServerError, ServerError, Good, ServerError]), [none; 4]);
        assert_eq!(says(settings(), &[LocalOrigin, ServerError, ServerError]), [none, none, [server, None]]);
        assert_eq!(says(settings(), &[GatewayError, LocalOrigin]), [none, [None, gateway]]);
        let split = OutlierDetection { split_external_local_origin_errors: true, ..settings() };
        assert_eq!(says(split, &[LocalOrigin, ServerError, LocalOrigin]), [none; 3]);
        assert_eq!(says(split, &[LocalOrigin, LocalOrigin]), [none, [local, None]]);
    }

    #[test]
    fn the_time_out_grows_to_its_limit_and_shrinks_again() {
        let (record, now) = (HealthRecord::default(), Instant::now());
        let out = |seconds| {
            record.eject(&settings(), Duration::ZERO, now);
            assert!(!record.readmit(None, now + Duration::from_secs(seconds - 1)));
            assert!(record.readmit(None, now + Duration::from_secs(seconds)));
        };
        [30, 50, 50].into_iter().for_each(out);
        (0..3).for_each(|_| record.relent());
        out(30);
    }

    #[test]
    fn a_passed_health_check_ends_an_ejection_that_came_before_it() {
        let (record, now) = (HealthRecord::default(), Instant::now());
        record.eject(&settings(), Duration::ZERO, now);
        assert!(!record.readmit(Some(now), now));
        assert!(record.readmit(Some(now + Duration::from_secs(1)), now));
    }

    #[test]
    fn no_more_hosts_are_ejected_than_may_be_but_one_where_that_is_asked_for() {
        assert!(!may_eject(0, 1, &settings()));
        assert!(may_eject(0, 1, &OutlierDetection { always_eject_one_host: true, ..settings() }));
        assert!(may_eject(1, 4, &settings()));
        assert!(!may_eject(2, 4, &settings()));
    }
}
