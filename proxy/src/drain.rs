//! Draining: take no new work, finish what there is. One writer, any number of connections that look or wait.

use tokio::sync::watch;

/// What a connection holds to learn that it should end when it can.
#[derive(Clone, Debug)]
pub struct Drain {
    first: watch::Receiver<bool>,
    second: Option<watch::Receiver<bool>>,
}

/// Starts the draining of all that hold its [`Drain`]s. Dropping it starts it too.
#[derive(Debug)]
pub struct DrainTrigger(watch::Sender<bool>);

pub fn pair() -> (DrainTrigger, Drain) {
    let (tx, rx) = watch::channel(false);
    (DrainTrigger(tx), Drain { first: rx, second: None })
}

impl DrainTrigger {
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    pub fn subscribe(&self) -> Drain {
        Drain { first: self.0.subscribe(), second: None }
    }
}

impl Drain {
    /// Told by whichever of two starts first. Of `other` only its own trigger counts.
    pub fn or(self, other: Self) -> Self {
        Self { first: self.first, second: Some(other.first) }
    }

    pub fn is_draining(&self) -> bool {
        let told = |receiver: &watch::Receiver<bool>| *receiver.borrow() || receiver.has_changed().is_err();
        told(&self.first) || self.second.as_ref().is_some_and(told)
    }

    /// Waits until the draining starts.
    pub async fn draining(&self) {
        let told = async |receiver: &watch::Receiver<bool>| {
            let _ = receiver.clone().wait_for(|draining| *draining).await;
        };
        match &self.second {
            None => told(&self.first).await,
            Some(second) => tokio::select! {
                () = told(&self.first) => {}
                () = told(second) => {}
            },
        }
    }
}
