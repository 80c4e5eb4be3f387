//! When a change of the inputs becomes a push: configuration waits for quiet, endpoints do not.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::counters::Counters;
use super::{Options, World};
use crate::compile::Compiled;
use crate::inputs::Inputs;

/// Follows the inputs and publishes what is compiled from them, until they end.
pub(super) async fn run(
    mut inputs: watch::Receiver<Inputs>,
    publish: watch::Sender<Option<World>>,
    options: Options,
    counters: Arc<Counters>,
) {
    let mut current: Option<Arc<Compiled>> = None;
    let mut since = Instant::now();
    if inputs.wait_for(|inputs| inputs.ready).await.is_err() {
        return;
    }
    loop {
        let latest = inputs.borrow_and_update().clone();
        let next = match &current {
            Some(before) => before.next(&latest),
            None => Compiled::new(&latest),
        };
        let next = Arc::new(next);
        publish.send_replace(Some(World { compiled: Arc::clone(&next), mark: latest.mark(), changed: since }));
        current = Some(next);
        since = match changed(&mut inputs, &latest, &options).await {
            Ok(first) => first,
            Err(_) => return,
        };
        counters.triggered(inputs.borrow().only_endpoints_differ(&latest));
    }
}

/// Waits for a change that is due; the moment of its beginning.
async fn changed(
    inputs: &mut watch::Receiver<Inputs>,
    published: &Inputs,
    options: &Options,
) -> Result<Instant, watch::error::RecvError> {
    inputs.changed().await?;
    let first = Instant::now();
    if inputs.borrow().only_endpoints_differ(published) {
        return Ok(first);
    }
    let mut due = first + options.debounce_quiet;
    loop {
        let seen = inputs.borrow_and_update().clone();
        match timeout_at(due, inputs.changed()).await {
            Err(_quiet) => return Ok(first),
            Ok(changed) => changed?,
        }
        if !inputs.borrow().only_endpoints_differ(&seen) {
            due = (Instant::now() + options.debounce_quiet).min(first + options.debounce_max);
        }
    }
}
