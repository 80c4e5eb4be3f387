//! Follows all registries, and publishes the catalog that their news make.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::{AbortHandle, SelectAll, abortable};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::steering::{Answer, Order, Orders, Steer, SteerError, Steering};
use super::{Catalog, Merger, RegistryState};
use crate::model::Provenance;
use crate::source::{Event, Registry};

/// How the catalog treats a registry that is out of reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// What it told is taken out after that long; never, where none is given.
    pub forget_after: Option<Duration>,
}

/// Events that are published together, where so many are ready.
const BATCH: usize = 1024;

/// Follows all registries and publishes each change of the merged catalog, until their streams end.
pub async fn run(registries: Vec<Arc<dyn Registry>>, policy: Policy, publish: watch::Sender<Arc<Catalog>>) {
    let (_, orders) = Steering::channel();
    run_steered(registries, policy, orders, publish).await;
}

/// The same, and does what is ordered.
pub async fn run_steered(
    registries: Vec<Arc<dyn Registry>>,
    policy: Policy,
    mut orders: Orders,
    publish: watch::Sender<Arc<Catalog>>,
) {
    let mut merger = Merger::new(registries.iter().map(|registry| registry.name()));
    let mut lost: Vec<Option<Instant>> = vec![None; registries.len()];
    let mut streams = Streams::of(registries);
    loop {
        let due = policy.forget_after.and_then(|after| lost.iter().flatten().min()?.checked_add(after));
        let mut changed = false;
        tokio::select! {
            batch = streams.batch(), if !streams.all.is_empty() => {
                let Some(batch) = batch else {
                    if streams.are_paused() { continue } else { return }
                };
                merger.at(unix_seconds());
                for (index, event) in batch {
                    streams.note(index, &event);
                    changed |= merger.apply(index, event);
                }
                note_losses(merger.catalog(), &mut lost);
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                for (index, since) in lost.iter_mut().enumerate() {
                    if since.zip(policy.forget_after).is_some_and(|(since, after)| since.elapsed() >= after) {
                        *since = None;
                        changed |= merger.forget(index);
                    }
                }
            }
            Some(order) = orders.0.recv() => changed |= streams.obey(order, &mut merger),
            else => return,
        }
        if changed {
            publish.send_replace(Arc::new(merger.catalog().clone()));
        }
        // Who asked then sees what was done, and may be gone.
        streams.done.drain(..).for_each(|(answer, told)| drop(answer.send(told)));
    }
}

/// What one registry tells, with its place.
type Told = Pin<Box<dyn Stream<Item = (usize, Event)> + Send>>;

/// What the registries tell, but for those that are paused.
struct Streams {
    registries: Vec<Arc<dyn Registry>>,
    all: SelectAll<Told>,
    /// Ends the stream of each; none while it is paused.
    ends: Vec<Option<AbortHandle>>,
    /// Who waits until each has told all it knows.
    waiting: Vec<Vec<Answer>>,
    /// What is to be answered once it is published.
    done: Vec<(Answer, Result<(), SteerError>)>,
}

impl Streams {
    fn of(registries: Vec<Arc<dyn Registry>>) -> Self {
        let (ends, waiting) = registries.iter().map(|_| (None, Vec::new())).unzip();
        let mut streams = Self { registries, all: SelectAll::new(), ends, waiting, done: Vec::new() };
        (0..streams.registries.len()).for_each(|index| streams.begin(index));
        streams
    }

    fn begin(&mut self, index: usize) {
        self.end(index);
        let (stream, end) = abortable(self.registries[index].watch());
        self.all.push(Box::pin(stream.map(move |event| (index, event))));
        self.ends[index] = Some(end);
    }

    fn end(&mut self, index: usize) {
        if let Some(end) = self.ends[index].take() {
            end.abort();
        }
    }

    fn are_paused(&self) -> bool {
        self.ends.iter().any(Option::is_none)
    }

    /// All that is ready, at least one; `None` when nobody tells any more.
    async fn batch(&mut self) -> Option<Vec<(usize, Event)>> {
        let mut batch = vec![self.all.next().await?];
        while let (true, Some(Some(event))) = (batch.len() < BATCH, self.all.next().now_or_never()) {
            batch.push(event);
        }
        Some(batch)
    }

    /// Answers those who wait for what this event says.
    fn note(&mut self, index: usize, event: &Event) {
        let told = match event {
            Event::Synced => Ok(()),
            Event::Lost(reason) => Err(SteerError::Lost(self.registries[index].name().to_owned(), reason.clone())),
            _ => return,
        };
        self.done.extend(self.waiting[index].drain(..).map(|answer| (answer, told.clone())));
    }

    /// True if the catalog changed.
    fn obey(&mut self, order: Order, merger: &mut Merger) -> bool {
        let Order { name, steer, answer } = order;
        let named = self.registries.iter().position(|registry| registry.name() == name);
        let (index, refused) = match named {
            None => {
                let known: Vec<&str> = self.registries.iter().map(|registry| registry.name()).collect();
                (0, Some(SteerError::Unknown(name, known.join(", "))))
            }
            Some(index) if name == Provenance::DECLARED => (index, Some(SteerError::Declared)),
            Some(index) if steer == Steer::Resync && self.ends[index].is_none() => {
                (index, Some(SteerError::Paused(name)))
            }
            Some(index) => (index, None),
        };
        if let Some(error) = refused {
            self.done.push((answer, Err(error)));
            return false;
        }
        match steer {
            Steer::Pause => {
                self.end(index);
                let name = self.registries[index].name();
                let waiting = self.waiting[index].drain(..);
                self.done.extend(waiting.map(|other| (other, Err(SteerError::Paused(name.to_owned())))));
                self.done.push((answer, Ok(())));
                merger.pause(index, true)
            }
            Steer::Resume if self.ends[index].is_some() => {
                self.done.push((answer, Ok(())));
                false
            }
            Steer::Resume | Steer::Resync => {
                // Who asks while it is being read anew waits for the same.
                self.waiting[index].retain(|other| !other.is_closed());
                self.waiting[index].push(answer);
                if self.waiting[index].len() > 1 {
                    return false;
                }
                merger.begin_anew(index);
                self.begin(index);
                merger.pause(index, false)
            }
        }
    }
}

/// When each registry was lost that is out of reach and counts still.
fn note_losses(catalog: &Catalog, lost: &mut [Option<Instant>]) {
    for (status, since) in catalog.registries.iter().zip(lost) {
        match (&status.state, status.forgotten) {
            (RegistryState::Stale(_), false) if !status.paused => _ = since.get_or_insert_with(Instant::now),
            _ => *since = None,
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use parking_lot::Mutex;

    use super::*;
    use crate::catalog::tests::{key, service};
    use crate::model::Protocol;
    use crate::{EventStream, MemoryRegistry};

    /// Tells the first of its lists to who watches it first, and so on.
    struct Lists(Mutex<Vec<Vec<Event>>>);

    impl Registry for Lists {
        fn name(&self) -> &str {
            "consul"
        }

        fn watch(&self) -> EventStream {
            let told = self.0.lock().remove(0);
            Box::pin(stream::iter(told).chain(stream::pending()))
        }
    }

    fn list(host: &str) -> Vec<Event> {
        vec![Event::Service(service(host, "consul", &[(80, Protocol::Http)])), Event::Synced]
    }

    #[tokio::test]
    async fn a_paused_registry_stands_still_until_it_is_resumed() {
        let lists = Lists(Mutex::new(vec![list("a.b"), list("c.d"), list("e.f")]));
        let (publish, mut catalog) = watch::channel(Arc::default());
        let (steering, orders) = Steering::channel();
        tokio::spawn(run_steered(vec![Arc::new(lists)], Policy::default(), orders, publish));
        catalog.wait_for(|catalog| catalog.get(&key("a.b")).is_some() && catalog.synced()).await.unwrap();

        steering.steer("consul", Steer::Pause).await.unwrap();
        catalog.wait_for(|catalog| catalog.is_stale("consul") && catalog.registries[0].paused).await.unwrap();
        assert_eq!(steering.steer("consul", Steer::Resync).await, Err(SteerError::Paused("consul".into())));
        assert!(catalog.borrow().get(&key("a.b")).is_some());

        let is_only =
            |catalog: &Catalog, host: &str| catalog.get(&key(host)).is_some() && catalog.entries().count() == 1;
        steering.steer("consul", Steer::Resume).await.unwrap();
        catalog.wait_for(|catalog| is_only(catalog, "c.d") && !catalog.registries[0].paused).await.unwrap();
        steering.steer("consul", Steer::Resync).await.unwrap();
        catalog.wait_for(|catalog| is_only(catalog, "e.f")).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_steered_is_told() {
        let (publish, _catalog) = watch::channel(Arc::default());
        let (steering, orders) = Steering::channel();
        let registries: Vec<Arc<dyn Registry>> =
            vec![Arc::new(MemoryRegistry::new("static")), Arc::new(MemoryRegistry::new("consul"))];
        tokio::spawn(run_steered(registries, Policy::default(), orders, publish));
        let unknown = steering.steer("nomad", Steer::Pause).await.unwrap_err();
        assert_eq!(unknown.to_string(), "there is no registry \"nomad\"; there are static, consul");
        assert_eq!(steering.steer("static", Steer::Pause).await, Err(SteerError::Declared));
    }
}
