//! A background load generator: so many requests a second, silent while all is well.

use super::client::Client;
use anyhow::ensure;
use axum::http::{HeaderMap, Uri};
use clap::Args;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that may wait for an answer at once; beyond it, ticks are skipped.
const MAX_IN_FLIGHT: usize = 256;

/// `weft sample traffic …`
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What to GET
    #[arg(long)]
    pub url: Uri,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub rate: f64,
}

/// Sends until `stop`, then waits for what is in flight.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    ensure!(options.url.scheme_str() == Some("http"), "--url {} is not an http:// URL", options.url);
    ensure!((0.01..=10_000.0).contains(&options.rate), "--rate must be between 0.01 and 10000 requests per second");
    let sender = Arc::new(Sender { client: Client::from_environment()?, url: options.url, report: Report::default() });
    let free = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut tick = interval(Duration::from_secs_f64(1.0 / options.rate));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut in_flight = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = in_flight.join_next() => {}
            _ = tick.tick() => if let Ok(slot) = free.clone().try_acquire_owned() {
                let sender = sender.clone();
                in_flight.spawn(async move {
                    sender.send().await;
                    drop(slot);
                });
            }
        }
    }
    in_flight.join_all().await;
    Ok(())
}

struct Sender {
    client: Client,
    url: Uri,
    report: Report,
}

impl Sender {
    async fn send(&self) {
        let problem = match self.client.get(&self.url, HeaderMap::new(), TIMEOUT).await {
            Ok(answer) if answer.status().is_server_error() || answer.status().is_client_error() => {
                Some(answer.status().to_string())
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(line) = self.report.changed(problem) {
            eprintln!("{}: {line}", self.url);
        }
    }
}

/// Turns a stream of outcomes into a line only when the outcome changes.
#[derive(Default)]
struct Report(Mutex<Option<String>>);

impl Report {
    fn changed(&self, problem: Option<String>) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == problem {
            return None;
        }
        last.clone_from(&problem);
        Some(problem.unwrap_or_else(|| "answers again".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_lasting_problem_is_told_once_and_so_is_its_end() {
        let report = Report::default();
        assert_eq!(report.changed(None), None);
        assert_eq!(report.changed(Some("503".into())).as_deref(), Some("503"));
        assert_eq!(report.changed(Some("503".into())), None);
        assert_eq!(report.changed(None).as_deref(), Some("answers again"));
        assert_eq!(report.changed(None), None);
    }
}
