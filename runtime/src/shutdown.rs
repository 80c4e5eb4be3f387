//! The end of a process in two steps: drain (take no new work), then shutdown (end what is left).

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Ended,
}

/// The side that ends things. Cloning shares; dropping the last one without a word changes nothing.
#[derive(Clone, Debug)]
pub struct Signal(watch::Sender<Phase>);

/// The side that is told. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A pair of the two sides.
pub fn channel() -> (Signal, Shutdown) {
    let (tx, rx) = watch::channel(Phase::Running);
    (Signal(tx), Shutdown(rx))
}

/// Drains on the first SIGTERM or SIGINT, and shuts down at the second or when `drain` has passed. Needs a tokio
/// runtime.
pub fn on_signals(drain: Duration) -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, shutdown) = channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.drain();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = tokio::time::sleep(drain) => {}
        }
        stop.shutdown();
        // Kept for as long as the process, so that nobody takes its end for a message.
        std::future::pending::<()>().await;
    });
    Ok(shutdown)
}

impl Signal {
    /// Asks to take no new work.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Asks to end now; implies drain.
    pub fn shutdown(&self) {
        self.advance(Phase::Ended);
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = *now < phase;
            *now = phase.max(*now);
            later
        });
    }
}

impl Shutdown {
    /// Whether no new work should be taken.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Resolves once no new work should be taken.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves once everything should end.
    pub async fn ended(&self) {
        self.reached(Phase::Ended).await;
    }

    async fn reached(&self, phase: Phase) {
        let mut phases = self.0.clone();
        if phases.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn drain_comes_before_the_end_and_there_is_no_way_back() {
        let (signal, shutdown) = channel();
        assert!(shutdown.draining().now_or_never().is_none());
        signal.drain();
        assert!(shutdown.draining().now_or_never().is_some());
        assert!(shutdown.ended().now_or_never().is_none());
        signal.shutdown();
        signal.drain();
        assert!(shutdown.ended().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_signal_that_is_dropped_ends_nothing() {
        let (signal, shutdown) = channel();
        drop(signal);
        assert!(shutdown.draining().now_or_never().is_none());
    }
}
