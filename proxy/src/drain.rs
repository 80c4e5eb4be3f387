//! Draining: take no new work, finish what there is. One writer, any number of connections that look or wait, all on
//! one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// What a connection holds to learn that it should end when it can.
#[derive(Clone, Debug)]
pub struct Drain {
    first: Rc<State>,
    second: Option<Rc<State>>,
}

/// Starts the draining of all that hold its [`Drain`]s. Dropping it starts it too.
#[derive(Debug)]
pub struct DrainTrigger(Rc<State>);

#[derive(Debug, Default)]
struct State {
    started: Cell<bool>,
    /// The same for these connections alone.
    each_of_these_is_last: Cell<bool>,
    /// While this is set, each answer is a connection's last, and nobody is woken.
    each_is_last: Option<Arc<AtomicBool>>,
    waiting: RefCell<Slab<Waker>>,
}

/// A place among those who wait. It is kept between waits, so that a connection that looks again and again registers
/// once.
#[derive(Debug)]
pub struct Waiting {
    places: [Option<(Rc<State>, Place)>; 2],
}

/// One more than the place, so that a wait which has none yet takes no more room.
type Place = Option<NonZeroU32>;

pub fn pair() -> (DrainTrigger, Drain) {
    let trigger = DrainTrigger(Rc::default());
    let drain = trigger.subscribe();
    (trigger, drain)
}

impl State {
    fn is_draining(&self) -> bool {
        self.started.get()
            || self.each_of_these_is_last.get()
            || self.each_is_last.as_ref().is_some_and(|is_set| is_set.load(Relaxed))
    }
}

impl DrainTrigger {
    /// One whose connections end with their next answer while that is set, too. Those that are idle stay.
    pub fn or_while(each_is_last: Arc<AtomicBool>) -> Self {
        Self(Rc::new(State { each_is_last: Some(each_is_last), ..State::default() }))
    }

    /// From now on each answer is its connection's last; those that are idle stay until the start.
    pub fn make_each_last(&self) {
        self.0.each_of_these_is_last.set(true);
    }

    pub fn start(&self) {
        self.0.started.set(true);
        for (_, waker) in self.0.waiting.borrow().iter() {
            waker.wake_by_ref();
        }
    }

    pub fn has_started(&self) -> bool {
        self.0.started.get()
    }

    pub fn subscribe(&self) -> Drain {
        Drain { first: Rc::clone(&self.0), second: None }
    }
}

impl Drop for DrainTrigger {
    fn drop(&mut self) {
        self.start();
    }
}

impl Drain {
    /// Told by whichever of two starts first. Of `other` only its own trigger counts.
    pub fn or(self, other: Self) -> Self {
        Self { first: self.first, second: Some(other.first) }
    }

    /// Whether an answer is to be the last.
    pub fn is_draining(&self) -> bool {
        self.first.is_draining() || self.second.as_ref().is_some_and(|second| second.is_draining())
    }

    pub fn waiting(&self) -> Waiting {
        let place = |state: &Rc<State>| (Rc::clone(state), None);
        Waiting { places: [Some(place(&self.first)), self.second.as_ref().map(place)] }
    }

    /// Waits until the draining starts.
    pub async fn draining(&self) {
        let mut waiting = self.waiting();
        poll_fn(|cx| waiting.poll(cx)).await;
    }
}

fn at(place: Place) -> Option<usize> {
    place.map(|place| place.get() as usize - 1)
}

impl Waiting {
    /// Ready once the draining starts.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for (state, place) in self.places.iter_mut().flatten() {
            if state.started.get() {
                return Poll::Ready(());
            }
            let mut waiting = state.waiting.borrow_mut();
            match at(*place) {
                None => *place = u32::try_from(waiting.insert(cx.waker().clone()) + 1).ok().and_then(NonZeroU32::new),
                Some(at) => waiting[at].clone_from(cx.waker()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for (state, place) in self.places.iter().flatten() {
            if let Some(at) = at(*place) {
                state.waiting.borrow_mut().remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn each_answer_is_the_last_while_that_is_asked_for_and_who_is_idle_is_not_woken() {
        let asked = Arc::new(AtomicBool::new(true));
        let drain = DrainTrigger::or_while(Arc::clone(&asked));
        let (own, other) = (pair(), drain.subscribe());
        let both = own.1.or(other);
        assert!(both.is_draining() && !drain.has_started() && !poll(pin!(both.draining())));
        asked.store(false, Relaxed);
        assert!(!both.is_draining());
    }

    #[test]
    fn either_trigger_ends_the_wait_and_nothing_stays_behind() {
        let ((first, drain), (second, other)) = (pair(), pair());
        let both = drain.clone().or(other);
        {
            let mut waiting = pin!(both.draining());
            assert!(!poll(waiting.as_mut()) && !poll(waiting.as_mut()));
            assert_eq!(drain.first.waiting.borrow().len(), 1);
            second.start();
            assert!(poll(waiting.as_mut()) && both.is_draining() && !drain.is_draining());
        }
        assert!(drain.first.waiting.borrow().is_empty());
        drop(first);
        assert!(poll(pin!(drain.draining())), "a dropped trigger counts as started");
    }
}
