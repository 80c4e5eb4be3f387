//! What was sent to a client for one type, and what it said to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::proxies::{SyncState, TypeStatus};
use crate::resource::Kind;

/// How many unanswered responses of a type stop further pushes of it.
const WINDOW: usize = 8;

/// What a request's nonce says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request carries no nonce: it answers nothing.
    None,
    Ack,
    Nack,
    /// It answers what is no longer waited for.
    Stale,
}

/// Responses of one type and their answers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    waiting: VecDeque<Sent>,
    /// Resources that the client refused and that were not accepted since.
    refused: BTreeSet<Arc<str>>,
    /// The last refusal's text.
    error: Option<String>,
    answered: bool,
}

#[derive(Debug)]
struct Sent {
    nonce: String,
    names: Vec<Arc<str>>,
}

impl Ledger {
    pub fn sent(&mut self, nonce: String, names: Vec<Arc<str>>) {
        self.waiting.push_back(Sent { nonce, names });
    }

    /// Takes a client's answer. Answers to later responses settle the earlier ones.
    pub fn answer(&mut self, nonce: &str, error: Option<String>) -> Verdict {
        if nonce.is_empty() {
            return Verdict::None;
        }
        let Some(position) = self.waiting.iter().position(|sent| sent.nonce == nonce) else { return Verdict::Stale };
        let settled: Vec<Sent> = self.waiting.drain(..=position).collect();
        self.answered = true;
        let Some(error) = error else {
            for name in settled.iter().flat_map(|sent| &sent.names) {
                self.refused.remove(name);
            }
            return Verdict::Ack;
        };
        self.refused.extend(settled.into_iter().next_back().into_iter().flat_map(|sent| sent.names));
        self.error = Some(error);
        Verdict::Nack
    }

    /// A resource that is gone is no longer refused.
    pub fn forget(&mut self, name: &str) {
        self.refused.remove(name);
    }

    /// Whether the client is so far behind that pushes should wait for it.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WINDOW
    }

    pub fn status(&self, resources: usize) -> TypeStatus {
        let state = if !self.refused.is_empty() {
            SyncState::Nacked
        } else if !self.waiting.is_empty() {
            SyncState::Stale
        } else if self.answered {
            SyncState::Synced
        } else {
            SyncState::NotSent
        };
        let error = self.error.clone().filter(|_| state == SyncState::Nacked);
        TypeStatus { state, error, resources }
    }
}

/// The status of each type that `proxy-status` shows, and of secrets and names where they were asked for.
pub(super) fn statuses(of: impl Fn(Kind) -> Option<TypeStatus>) -> BTreeMap<&'static str, TypeStatus> {
    let shown = Kind::ALL.into_iter().map(|kind| (kind, of(kind)));
    let shown = shown.filter(|(kind, status)| !matches!(kind, Kind::Secret | Kind::NameTable) || status.is_some());
    shown.map(|(kind, status)| (kind.short_name(), status.unwrap_or_default())).collect()
}
