//! Outlier detection (Envoy `OutlierDetection`): hosts that fail several times in a row are left out for a while,
//! longer each time.

use std::cell::Cell;
use std::time::Instant;

use crate::config::OutlierDetection;

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
    ejections: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

fn bump(count: &Cell<u32>) -> u32 {
    count.set(count.get().saturating_add(1));
    count.get()
}

impl HealthRecord {
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.get().is_some()
    }

    /// Takes the outcome of a request; true if the host should be ejected now.
    pub fn record(&self, verdict: Verdict, settings: &OutlierDetection) -> bool {
        let split = settings.split_external_local_origin_errors;
        if verdict == Verdict::Good {
            self.server_errors.set(0);
            self.gateway_errors.set(0);
            self.local_origin_errors.set(0);
            return false;
        }
        let over = |count: u32, limit: u32| limit > 0 && count >= limit;
        if verdict == Verdict::LocalOrigin && split {
            return over(bump(&self.local_origin_errors), settings.consecutive_local_origin_failure);
        }
        let server = over(bump(&self.server_errors), settings.consecutive_5xx);
        let gateway = if verdict == Verdict::ServerError {
            self.gateway_errors.set(0);
            false
        } else {
            over(bump(&self.gateway_errors), settings.consecutive_gateway_failure)
        };
        (server && settings.enforcing_consecutive_5xx > 0)
            || (gateway && settings.enforcing_consecutive_gateway_failure > 0)
    }

    pub fn eject(&self, settings: &OutlierDetection, now: Instant) {
        let times = bump(&self.ejections);
        let longest = settings.max_ejection_time.max(settings.base_ejection_time);
        let time = settings.base_ejection_time.saturating_mul(times).min(longest);
        self.ejected_until.set(Some(now + time));
        for count in [&self.server_errors, &self.gateway_errors, &self.local_origin_errors] {
            count.set(0);
        }
    }

    /// Takes the host back if its time is over; true if so.
    pub fn readmit(&self, now: Instant) -> bool {
        let over = self.ejected_until.get().is_some_and(|until| until <= now);
        if over {
            self.ejected_until.set(None);
        }
        over
    }
}

/// Whether one more host may be ejected: at most the percentage, but always one.
pub fn may_eject(ejected: usize, hosts: usize, settings: &OutlierDetection) -> bool {
    ejected == 0 && hosts > 0 || (ejected + 1) * 100 <= hosts * settings.max_ejection_percent as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 2,
            consecutive_local_origin_failure: 2,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(50),
            max_ejection_percent: 50,
            enforcing_consecutive_5xx: 100,
            enforcing_consecutive_gateway_failure: 0,
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_forgives() {
        let record = HealthRecord::default();
        let says = |verdict| record.record(verdict, &settings());
        assert!(!says(Verdict::ServerError) && !says(Verdict::GatewayError) && !says(Verdict::Good));
        assert!(!says(Verdict::LocalOrigin) && !says(Verdict::ServerError) && says(Verdict::GatewayError));
    }

    #[test]
    fn the_time_out_grows_to_its_limit() {
        let (record, now) = (HealthRecord::default(), Instant::now());
        for seconds in [30, 50, 50] {
            record.eject(&settings(), now);
            assert!(!record.readmit(now + Duration::from_secs(seconds - 1)));
            assert!(record.readmit(now + Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn one_host_may_always_be_ejected_and_then_the_percentage_holds() {
        assert!(may_eject(0, 1, &settings()));
        assert!(may_eject(1, 4, &settings()));
        assert!(!may_eject(2, 4, &settings()));
    }
}
