//! The copy on disk: taken up at the start, and written after a change, once in a while at most, so that many changes
//! cost one write.

use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use crate::config::ResourceKind as Kind;

/// How far apart writes are. A crash may lose the changes of this time.
const APART: Duration = Duration::from_secs(1);

impl Client {
    /// True if there was a copy and it was put in force.
    pub(super) async fn take_copy(&mut self) -> bool {
        let Some(copy) = &self.options.copy else { return false };
        let read = copy.read(&mut self.resources);
        let kept = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the kept configuration cannot be read; waiting for the control plane");
            false
        });
        if !kept {
            return false;
        }
        self.heard.extend(Kind::ALL);
        for key in self.resources.missing().into_keys() {
            self.resources.give_up(key);
        }
        self.put_in_force().await;
        self.copy_due = None;
        true
    }

    pub(super) fn keep_soon(&mut self) {
        if self.options.copy.is_some() {
            let due = self.copy_written.map_or_else(Instant::now, |written| written + APART);
            self.copy_due.get_or_insert(due);
        }
    }

    /// Writes what is not written yet.
    pub(super) async fn keep(&mut self) {
        let (Some(_), Some(copy)) = (self.copy_due.take(), self.options.copy.clone()) else { return };
        self.copy_written = Some(Instant::now());
        let resources = self.resources.clone();
        let written = tokio::task::spawn_blocking(move || copy.write(&resources)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the configuration could not be kept on disk");
        }
    }
}
