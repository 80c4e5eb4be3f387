//! Connections that end after a number of requests or a time (Envoy, `max_requests_per_connection`,
//! `max_connection_duration`). One that nothing bounds knows nothing of this.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::Lifetime;
use crate::drain::{Drain, DrainTrigger};
use crate::worker::Failing;

/// What bounds a connection.
#[derive(Clone, Debug)]
pub struct Bounds {
    of: Lifetime,
    trigger: Rc<DrainTrigger>,
    /// Whether the next answer is the last (HTTP/1.1).
    closes: Rc<Cell<bool>>,
}

/// Keeps the bounds of a connection for as long as it is served.
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bounds {
    /// While `failing` is set, the next answer is the last.
    pub fn new(of: Lifetime, failing: &Failing) -> Self {
        let trigger = DrainTrigger::or_while(Arc::clone(failing));
        Self { of, trigger: Rc::new(trigger), closes: Rc::default() }
    }

    /// So many requests have come.
    pub fn count(&self, requests: u64) {
        if requests == self.of.max_requests {
            self.trigger.start();
        }
    }

    pub fn closes(&self) -> bool {
        self.closes.get()
    }

    /// Watches the time, and whether the connection has to end for another reason. The drain is the connection's.
    pub fn watch(&self, outer: &Drain, http2: bool) -> (Drain, Watch) {
        let (this, outer) = (self.clone(), outer.clone());
        let drain = self.trigger.subscribe();
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                () = outer.draining() => {}
                () = this.time(http2) => {}
            }
            this.trigger.start();
        });
        (drain, Watch(task))
    }

    /// HTTP/1.1 has no notice but the last answer: a client gets a while to ask for it.
    async fn time(&self, http2: bool) {
        let Some(most) = self.of.max_duration else { return std::future::pending().await };
        tokio::time::sleep(most).await;
        if !http2 {
            self.closes.set(true);
            tokio::time::sleep(self.of.drain_timeout).await;
        }
    }
}
