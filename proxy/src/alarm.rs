//! Deadlines that are set for every request and almost never reached. A timer of the runtime costs more to set and to
//! take back than a header costs to parse; an alarm takes a timer that an earlier one left behind, lets it go off at
//! its own, earlier time if it comes to that, and only then moves it to the deadline that counts.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

type Timer = Pin<Box<Sleep>>;

/// More timers than this are not kept, per thread.
const KEPT: usize = 1024;

thread_local! {
    static TIMERS: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

/// Waits for a deadline that may move. Every poll of one alarm is by one task.
#[derive(Default)]
pub struct Alarm {
    timer: Option<Timer>,
    /// Whether the task is registered with the timer.
    heard: bool,
}

impl Alarm {
    /// Ready once `deadline` has passed.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| TIMERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::pin(sleep_until(deadline))));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
            self.heard = false;
        }
        loop {
            if self.heard && !timer.is_elapsed() {
                return Poll::Pending;
            }
            self.heard = true;
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take().filter(|timer| !timer.is_elapsed()) {
            // At the end of the thread there is nowhere to keep it.
            let _ = TIMERS.try_with(|timers| {
                let mut timers = timers.borrow_mut();
                if timers.len() < KEPT {
                    timers.push(timer);
                }
            });
        }
    }
}

/// The deadline that lies `limit` ahead; zero is never.
pub fn after(limit: Duration) -> Option<Instant> {
    if limit.is_zero() { None } else { Instant::now().checked_add(limit) }
}

/// Runs a future until it ends (`Some`) or the deadline passes (`None`); no deadline is no limit.
pub async fn within<T>(
    alarm: &mut Alarm,
    deadline: Option<Instant>,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match deadline {
            Some(deadline) => alarm.poll(deadline, cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_at_its_own_time_whatever_timer_it_was_given() {
        let start = Instant::now();
        for seconds in [30, 5, 60, 7] {
            // Each leaves its timer, due in a minute or less, to the next.
            let mut alarm = Alarm::default();
            assert!(
                within(&mut alarm, after(Duration::from_secs(seconds)), pin!(tokio::task::yield_now())).await.is_some()
            );
        }
        for seconds in [20, 3, 90] {
            let before = Instant::now();
            let mut alarm = Alarm::default();
            let ended = within(&mut alarm, after(Duration::from_secs(seconds)), pin!(pending::<()>())).await;
            assert_eq!((ended, before.elapsed().as_secs()), (None, seconds));
        }
        assert_eq!(start.elapsed().as_secs(), 113);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_move_both_ways() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        for seconds in [10, 30, 31] {
            let at = start + Duration::from_secs(seconds);
            std::future::poll_fn(|cx| alarm.poll(at, cx)).await;
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
        let far = Instant::now() + Duration::from_secs(100);
        assert!(std::future::poll_fn(|cx| Poll::Ready(alarm.poll(far, cx))).await.is_pending());
        let near = Instant::now() + Duration::from_secs(1);
        std::future::poll_fn(|cx| alarm.poll(near, cx)).await;
        assert_eq!(start.elapsed().as_secs(), 32);
    }
}
