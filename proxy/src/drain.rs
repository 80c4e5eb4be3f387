//! Draining: take no new work, finish what there is. One writer, any number of connections that look or wait.

use tokio::sync::watch;

/// What a connection holds to learn that it should end when it can.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

/// Starts the draining of all that hold its [`Drain`]s. Dropping it starts it too.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<bool>);

pub fn pair() -> (DrainTrigger, Drain) {
    let (tx, rx) = watch::channel(false);
    (DrainTrigger(tx), Drain(rx))
}

impl DrainTrigger {
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    pub fn subscribe(&self) -> Drain {
        Drain(self.0.subscribe())
    }
}

impl Drain {
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the draining starts.
    pub async fn draining(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|draining| *draining).await;
    }
}
