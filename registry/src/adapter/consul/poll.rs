//! One task that follows one thing in Consul: the names of all services, or the instances of one.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use runtime::Backoff;
use tokio::sync::{AcquireError, mpsc};
use tokio::time::sleep;

use super::client::{Answer, Ask, Client, Names};
use super::entry::Entry;
use super::limits::Limits;

/// What a task found.
#[derive(Debug)]
pub(super) enum Update {
    Services(Names),
    Instances {
        service: String,
        entries: Vec<Entry>,
    },
    /// A service's instances cannot be read.
    Failed {
        service: String,
        reason: String,
    },
    /// The server does not answer.
    Lost(String),
}

/// After an answer, so that one thing that changes all the time is not read all the time.
const GAP: Duration = Duration::from_millis(25);
/// After an answer with an index that cannot be waited on.
const NO_INDEX: Duration = Duration::from_secs(1);
/// The list of names blocks for no longer: its answer is the sign that the server is there.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What every task works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub client: Arc<Client>,
    pub limits: Arc<Limits>,
    pub updates: mpsc::Sender<Update>,
}

/// Follows the names of services, from an answer that was read at this index, until the server does not answer.
pub(super) async fn names(tools: Tools, mut index: u64, longest: Duration) {
    let wait = longest.min(HEARTBEAT);
    loop {
        let ask = if index == 0 { Ask::Now } else { Ask::Newer(index, wait) };
        match tools.client.services(ask).await {
            Ok(answer) => {
                let changed = answer.index != index;
                let pause = pause(answer.index);
                index = next_index(index, answer.index);
                if changed && tools.updates.send(Update::Services(answer.value)).await.is_err() {
                    return;
                }
                sleep(pause).await;
            }
            Err(reason) => {
                // That nobody listens any more is as good an end.
                let _ = tools.updates.send(Update::Lost(reason)).await;
                return;
            }
        }
    }
}

/// Follows the instances of one service for as long as it is polled.
pub(super) async fn instances(tools: Tools, service: String) {
    let mut index = 0;
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
    // After a failure and at the beginning the leader has to confirm the state, since a server that has just started
    // may not know all yet.
    let mut first = Ask::Confirmed;
    // The limits' semaphores are never closed.
    while let Ok(answer) = ask(&tools, &service, index, first).await {
        let (update, pause) = match answer {
            None => continue,
            Some(Ok(answer)) => {
                backoff.reset();
                first = Ask::Now;
                let changed = index == 0 || answer.index != index;
                let pause = pause(answer.index);
                index = next_index(index, answer.index);
                let service = service.clone();
                (changed.then_some(Update::Instances { service, entries: answer.value }), pause)
            }
            Some(Err(reason)) => {
                (index, first) = (0, Ask::Confirmed);
                (Some(Update::Failed { service: service.clone(), reason }), jittered(backoff.failed()))
            }
        };
        if let Some(update) = update
            && tools.updates.send(update).await.is_err()
        {
            return;
        }
        sleep(pause).await;
    }
}

/// The answer; none if another length of the wait came into force meanwhile.
async fn ask(
    tools: &Tools,
    service: &str,
    index: u64,
    first: Ask,
) -> Result<Option<Result<Answer<Vec<Entry>>, String>>, AcquireError> {
    if index == 0 {
        let _place = tools.limits.reads.acquire().await?;
        return Ok(Some(tools.client.instances(service, first).await));
    }
    let _place = tools.limits.polls.acquire().await?;
    let mut wait = tools.limits.wait();
    let longest = *wait.borrow_and_update();
    Ok(tokio::select! {
        answer = tools.client.instances(service, Ask::Newer(index, longest)) => Some(answer),
        _ = wait.changed() => None,
    })
}

/// The index to ask on from (Consul, blocking queries): one that went back starts over, and 0 cannot be waited on.
pub(super) fn next_index(before: u64, now: u64) -> u64 {
    if now < before { 0 } else { now.max(1) }
}

fn pause(index: u64) -> Duration {
    if index == 0 { NO_INDEX } else { GAP }
}

/// Between half of a delay and the whole, so that clients that lost one server do not come back as one.
pub(super) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_back_starts_over() {
        assert_eq!(next_index(10, 12), 12);
        assert_eq!(next_index(10, 10), 10);
        assert_eq!(next_index(10, 3), 0);
        assert_eq!(next_index(0, 0), 1);
    }

    #[test]
    fn a_delay_is_never_shorter_than_half() {
        let delay = Duration::from_secs(2);
        assert!((0..100).map(|_| jittered(delay)).all(|found| found >= delay / 2 && found <= delay));
    }
}
