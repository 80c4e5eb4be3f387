//! When a change of the inputs becomes a push: configuration waits for quiet, endpoints do not.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Options;
use crate::compile::Compiled;
use crate::inputs::Inputs;

/// Follows the inputs and publishes what is compiled from them, until they end.
pub(super) async fn run(
    mut inputs: watch::Receiver<Inputs>,
    publish: watch::Sender<Option<Arc<Compiled>>>,
    options: Options,
) {
    let mut current: Option<Arc<Compiled>> = None;
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
        publish.send_replace(Some(Arc::clone(&next)));
        current = Some(next);
        if changed(&mut inputs, &latest, &options).await.is_err() {
            return;
        }
    }
}

/// Waits for a change that is due.
async fn changed(
    inputs: &mut watch::Receiver<Inputs>,
    published: &Inputs,
    options: &Options,
) -> Result<(), watch::error::RecvError> {
    inputs.changed().await?;
    if inputs.borrow().only_endpoints_differ(published) {
        return Ok(());
    }
    let first = Instant::now();
    let mut due = first + options.debounce_quiet;
    loop {
        let seen = inputs.borrow_and_update().clone();
        match timeout_at(due, inputs.changed()).await {
            Err(_quiet) => return Ok(()),
            Ok(changed) => changed?,
        }
        if !inputs.borrow().only_endpoints_differ(&seen) {
            due = (Instant::now() + options.debounce_quiet).min(first + options.debounce_max);
        }
    }
}
