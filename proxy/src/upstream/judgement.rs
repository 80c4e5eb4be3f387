//! Who of a cluster's hosts is ejected and taken back. There is no timer: an interval is over when the next outcome
//! comes in after it, so that a cluster that nothing goes to costs nothing.

use std::rc::Rc;
use std::time::Instant;

use super::cluster::{Cluster, Hosts};
use super::host::Host;
use super::outlier::{Cause, Tally, Verdict, judge, may_eject};
use crate::config::OutlierDetection;

impl Cluster {
    /// Learns how a host did.
    pub fn report(&self, host: &Rc<Host>, verdict: Verdict) {
        let Some(settings) = &self.config.outlier_detection else { return };
        for (cause, percent) in host.health().record(verdict, settings).into_iter().flatten() {
            self.eject(&self.current(), &[(host, cause, percent)], settings);
        }
        let now = Instant::now();
        match self.judged_at.get() {
            Some(before) if now.duration_since(before) < settings.interval => {}
            Some(_) => {
                self.judged_at.set(Some(now));
                self.judge(settings);
            }
            None => self.judged_at.set(Some(now)),
        }
    }

    /// Looks back on an interval.
    fn judge(&self, settings: &OutlierDetection) {
        let hosts = self.current();
        hosts.hosts.iter().for_each(|host| host.health().relent());
        let tallies: Vec<_> = hosts.hosts.iter().map(|host| host.health().rates.take()).collect();
        let volume = settings.success_rate.request_volume.min(settings.failure_percentage.request_volume);
        for (host, tallies) in hosts.hosts.iter().zip(&tallies) {
            let shown = |tally: Tally| (tally.all > 0 && tally.all >= volume).then(|| tally.percent());
            host.health().success.set(tallies.map(shown));
        }
        let (found, summaries) = judge(&tallies, settings);
        self.rates.set(summaries);
        let found: Vec<_> = found.into_iter().map(|one| (&hosts.hosts[one.host], one.cause, one.percent)).collect();
        self.eject(&hosts, &found, settings);
    }

    /// Ejects hosts, each with a chance of so many percent, as far as so many may be.
    fn eject(&self, hosts: &Hosts, found: &[(&Rc<Host>, Cause, u32)], settings: &OutlierDetection) {
        let stats = self.stats.outliers.get_or_init(Box::default);
        let mut ejected = hosts.hosts.iter().filter(|host| host.health().is_ejected()).count();
        let before = ejected;
        for (host, cause, percent) in found {
            if host.health().is_ejected() {
                continue;
            }
            stats.detected[*cause as usize].add(1);
            if !may_eject(ejected, hosts.hosts.len(), settings) {
                stats.overflow.add(1);
            } else if rand::random::<u32>() % 100 < *percent {
                let jitter = settings.max_ejection_time_jitter.mul_f64(rand::random::<f64>());
                host.health().eject(settings, jitter, Instant::now());
                ejected += 1;
                stats.enforced[*cause as usize].add(1);
                stats.enforced_total.add(1);
            }
        }
        if ejected > before {
            self.publish(hosts.set.assignment(), hosts.hosts.clone());
        }
    }

    /// Takes back hosts whose ejection is over, or who have passed an active health check since.
    pub(super) fn readmit(&self) {
        let Some(settings) = &self.config.outlier_detection else { return };
        let hosts = self.current();
        let (mut now, mut back) = (None, false);
        for host in hosts.hosts.iter().filter(|host| host.health().is_ejected()) {
            let passed = if settings.readmit_on_passed_check { self.passed(host) } else { None };
            back |= host.health().readmit(passed, *now.get_or_insert_with(Instant::now));
        }
        if back {
            self.publish(hosts.set.assignment(), hosts.hosts.clone());
        }
    }
}
