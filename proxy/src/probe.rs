//! The probe of a WorkloadGroup: asks the program again and again whether it serves, and tells when that changes
//! (Istio `ReadinessProbe`, whose meaning is Kubernetes').

mod methods;
#[cfg(test)]
mod tests;

use std::time::Duration;

use api::weft::v1 as wire;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Probes until nobody holds a receiver any more. What is sent is why the program does not serve, if it does not.
pub async fn run(probe: wire::Probe, told: watch::Sender<Option<Option<String>>>) {
    let mut streak = Streak::of(&probe);
    let work = async {
        sleep(seconds(probe.initial_delay_seconds, 0)).await;
        loop {
            let limit = seconds(probe.timeout_seconds, 1);
            let outcome = timeout(limit, methods::once(&probe)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer in {} s", limit.as_secs())));
            if let Some(change) = streak.take(outcome) {
                match &change {
                    Some(reason) => tracing::warn!(reason, "the probe fails: the workload is told to be unhealthy"),
                    None => tracing::info!("the probe succeeds: the workload is told to be healthy"),
                }
                told.send_replace(Some(change));
            }
            sleep(seconds(probe.period_seconds, 10)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = told.closed() => {}
    }
}

/// Zero stands for the default.
fn seconds(given: u32, default: u64) -> Duration {
    Duration::from_secs(if given == 0 { default } else { given.into() })
}

/// Outcomes in a row, and what they came to.
struct Streak {
    success_threshold: u32,
    failure_threshold: u32,
    succeeded: u32,
    failed: u32,
    healthy: Option<bool>,
}

impl Streak {
    fn of(probe: &wire::Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            succeeded: 0,
            failed: 0,
            healthy: None,
        }
    }

    /// Counts an outcome; what it changes: why the program does not serve, or that it does.
    fn take(&mut self, outcome: Result<(), String>) -> Option<Option<String>> {
        match outcome {
            Ok(()) => {
                (self.succeeded, self.failed) = (self.succeeded.saturating_add(1), 0);
                let changes = self.healthy != Some(true) && self.succeeded >= self.success_threshold;
                changes.then(|| {
                    self.healthy = Some(true);
                    None
                })
            }
            Err(reason) => {
                (self.succeeded, self.failed) = (0, self.failed.saturating_add(1));
                let changes = self.healthy != Some(false) && self.failed >= self.failure_threshold;
                changes.then(|| {
                    self.healthy = Some(false);
                    Some(reason)
                })
            }
        }
    }
}
