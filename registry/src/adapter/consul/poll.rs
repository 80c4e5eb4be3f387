//! Tasks that ask Consul: one that follows one subject, one that reads a service anew, one that searches for services
//! that changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rand::RngExt as _;
use runtime::Backoff;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Answer, Ask, Client, NoAnswer};
use super::limits::Limits;
use super::update::{Found, Subject, Update};

/// After an answer, so that one thing that changes all the time is not read all the time.
const GAP: Duration = Duration::from_millis(25);
/// The same for each thing in an answer: a large one is rarer.
const GAP_EACH: Duration = Duration::from_micros(50);
const LONGEST_GAP: Duration = Duration::from_millis(250);
/// After an answer with an index that cannot be waited on.
const NO_INDEX: Duration = Duration::from_secs(1);
/// The list of names blocks for no longer: its answer is the sign that the server is there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two searches.
const SEARCH_GAP: Duration = Duration::from_millis(50);
/// Between two searches where nothing tells that the health of an instance changed.
const ROUND: Duration = Duration::from_secs(5);
/// A server that was away and is back is asked again after that long at most.
pub(super) const SOON: Duration = Duration::from_secs(3);
/// How long a server that is behind may take until it has what another told of.
const BEHIND: Duration = Duration::from_secs(1);

/// What every task works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub client: Arc<Client>,
    pub limits: Arc<Limits>,
    pub updates: mpsc::Sender<Update>,
}

/// Follows a subject, from what was read of it at this index, for as long as it is polled.
pub(super) async fn follow(tools: Tools, subject: Subject, mut index: u64) {
    let mut backoff = backoff();
    let longest = if subject == Subject::Names { tools.limits.wait.min(HEARTBEAT) } else { tools.limits.wait };
    loop {
        let waits = index != 0;
        let how = if waits { Ask::Newer(index, longest) } else { Ask::Now };
        let (update, pause) = match ask(&tools, &subject, how).await {
            Ok(answer) => {
                backoff.reset();
                let changed = !waits || answer.index != index;
                let pause = pause(&answer);
                index = next_index(index, answer.index);
                let update = Update::Found { subject: subject.clone(), index: answer.index, found: answer.value };
                (changed.then_some(update), pause)
            }
            Err(why) if subject == Subject::Names => (Some(Update::Lost(why.reason)), Duration::ZERO),
            Err(why) => {
                index = 0;
                let pause = rest(&mut backoff, &why);
                (Some(Update::Failed { subject: subject.clone(), why }), pause)
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

async fn ask(tools: &Tools, subject: &Subject, ask: Ask) -> Result<Answer<Found>, NoAnswer> {
    let Tools { client, limits, .. } = tools;
    // What is answered at once takes its turn; the semaphore is never closed.
    let _turn = if matches!(ask, Ask::Newer(..)) { None } else { limits.reads.acquire().await.ok() };
    Ok(match subject {
        Subject::Names => client.services(ask).await?.map(Found::Names),
        Subject::Nodes => client.nodes(ask).await?.map(Found::Nodes),
        Subject::Node(node) => client.on_node(node, ask).await?.map(Found::Node),
        Subject::Checks(status) => client.in_state(status, ask).await?.map(Found::Checks),
        Subject::Service(service) => client.instances(service, ask).await?.map(Found::Instances),
    })
}

/// Reads a service until that succeeds. The leader has to confirm what was not read before, since a server that has
/// just started may not know all yet; and a server that may be behind is asked for what is newer than `index`.
pub(super) async fn read(tools: Tools, service: String, index: u64) {
    let mut backoff = backoff();
    let mut how = match index {
        0 => Ask::Confirmed,
        _ if tools.client.is_stale() => Ask::Newer(index, BEHIND),
        _ => Ask::Now,
    };
    let subject = Subject::Service(service);
    loop {
        let Ok(turn) = tools.limits.reads.acquire().await else { return };
        let answer = tools.client.instances(subject.service(), how).await;
        drop(turn);
        let (update, pause) = match answer {
            Ok(Answer { index, value }) => {
                (Update::Found { subject: subject.clone(), index, found: Found::Instances(value) }, None)
            }
            Err(why) => {
                how = Ask::Confirmed;
                let pause = rest(&mut backoff, &why);
                (Update::Failed { subject: subject.clone(), why }, Some(pause))
            }
        };
        // That nobody listens any more is as good an end.
        let listens = tools.updates.send(update).await.is_ok();
        let (true, Some(pause)) = (listens, pause) else { return };
        sleep(pause).await;
    }
}

/// Tells which of these services, that were read at these indexes, changed since. Those that changed last come first,
/// as they are the likeliest to have changed again. A search that takes long is followed by a longer rest.
pub(super) async fn search(tools: Tools, mut services: Vec<(String, u64)>) {
    let start = Instant::now();
    services.sort_unstable_by_key(|(_, index)| std::cmp::Reverse(*index));
    let tools = &tools;
    let asked = futures_util::stream::iter(services).for_each_concurrent(None, |(service, index)| async move {
        let Ok(_turn) = tools.limits.reads.acquire().await else { return };
        // One that cannot be asked is read, which tells why.
        let now = tools.client.moved(&service).await.ok();
        if now != Some(index) {
            let _ = tools.updates.send(Update::Moved(service, now)).await;
        }
    });
    asked.await;
    sleep(SEARCH_GAP.max(start.elapsed() / 4)).await;
    let _ = tools.updates.send(Update::Searched).await;
}

/// Tells from time to time that a search is due.
pub(super) async fn rounds(tools: Tools) {
    while tools.updates.send(Update::Round).await.is_ok() {
        sleep(ROUND).await;
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(30))
}

/// After a question that found nothing. A server that is back is asked again soon; one that refuses goes on to.
fn rest(backoff: &mut Backoff, why: &NoAnswer) -> Duration {
    let delay = backoff.failed();
    jittered(if why.is_refusal() { delay } else { delay.min(SOON) })
}

/// The index to ask on from (Consul, blocking queries): one that went back starts over, and 0 cannot be waited on.
pub(super) fn next_index(before: u64, now: u64) -> u64 {
    if now < before { 0 } else { now.max(1) }
}

fn pause(answer: &Answer<Found>) -> Duration {
    match answer.index {
        0 => NO_INDEX,
        _ => (GAP + GAP_EACH * answer.value.len() as u32).min(LONGEST_GAP),
    }
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
    fn however_long_a_server_was_away_it_is_asked_again_soon_once_it_is_back() {
        let mut backoff = backoff();
        let lost = NoAnswer { reason: "no answer within 5 s".into(), lost: true };
        assert!((0..100).all(|_| rest(&mut backoff, &lost) <= SOON));
        assert!(rest(&mut backoff, &"403 no".into()) > SOON, "a refusal is not asked for all the time");
    }

    #[test]
    fn a_delay_is_never_shorter_than_half() {
        let delay = Duration::from_secs(2);
        assert!((0..100).map(|_| jittered(delay)).all(|found| found >= delay / 2 && found <= delay));
    }
}
