//! What operators do with a registry while it runs: its news are left aside for a while, or all it knows is read anew.

use tokio::sync::{mpsc, oneshot};

/// What is to be done with a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// What it told stands, and its news are not taken, until `Resume` or the end of the process.
    Pause,
    /// All it knows is read anew, and then its news are taken again.
    Resume,
    /// All it knows is read anew; what it does not tell any more is gone once it has told all.
    Resync,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    #[error("there is no registry {0:?}; there are {1}")]
    Unknown(String, String),
    #[error("the registry static is what the configuration declares; change the objects there")]
    Declared,
    #[error("{0} is paused; resume it, which reads it anew")]
    Paused(String),
    #[error("{0} is out of reach: {1}")]
    Lost(String, String),
    #[error("the registries are not followed any more; the control plane ends")]
    Ended,
}

pub(super) type Answer = oneshot::Sender<Result<(), SteerError>>;

#[derive(Debug)]
pub(super) struct Order {
    pub name: String,
    pub steer: Steer,
    pub answer: Answer,
}

/// Whence registries are steered. Clones share.
#[derive(Clone, Debug)]
pub struct Steering(mpsc::Sender<Order>);

/// The other end, for who follows the registries.
#[derive(Debug)]
pub struct Orders(pub(super) mpsc::Receiver<Order>);

impl Steering {
    pub fn channel() -> (Self, Orders) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), Orders(receiver))
    }

    /// Returns once it is done: with `Resume` and `Resync` when the registry has told all it knows.
    pub async fn steer(&self, name: &str, steer: Steer) -> Result<(), SteerError> {
        let (answer, answered) = oneshot::channel();
        let order = Order { name: name.to_owned(), steer, answer };
        self.0.send(order).await.map_err(|_| SteerError::Ended)?;
        answered.await.unwrap_or(Err(SteerError::Ended))
    }
}
