//! What the node proxy itself counts: whose connections it could not hand on, and why.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Exposition;

/// Why a connection was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its user runs no workload, or it went before that was known.
    User,
    /// It names no service of a workload here.
    Service,
    /// The workload has no configuration yet.
    NotReady,
    /// It did not say in time what it wants, or not in a way that can be read.
    Silent,
}

const REASONS: [(Refusal, &str); 4] = [
    (Refusal::User, "unknown_user"),
    (Refusal::Service, "unknown_service"),
    (Refusal::NotReady, "not_ready"),
    (Refusal::Silent, "silent"),
];

#[derive(Debug, Default)]
pub struct Counters {
    refused: [AtomicU64; REASONS.len()],
}

impl Counters {
    pub fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn exposition(&self) -> String {
        let mut out = Exposition::default();
        for (why, reason) in REASONS {
            let refused = self.refused[why as usize].load(Ordering::Relaxed);
            out.counter("weft_node_proxy_refused_total", &format!("reason=\"{reason}\""), refused);
        }
        out.finish()
    }
}
