//! What becomes of requests for certificates, for those who watch (Istio, `citadel_server_*`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tonic::{Code, Status};

/// Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Issuances(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    issued: AtomicU64,
    malformed: AtomicU64,
    unauthenticated: AtomicU64,
    denied: AtomicU64,
    unsigned: AtomicU64,
}

impl Issuances {
    pub(super) fn asked(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended<T>(&self, result: &Result<T, Status>) {
        let count = match result {
            Ok(_) => &self.0.issued,
            Err(status) => match status.code() {
                Code::InvalidArgument => &self.0.malformed,
                Code::Unauthenticated => &self.0.unauthenticated,
                Code::PermissionDenied => &self.0.denied,
                _ => &self.0.unsigned,
            },
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Each counter's name in Istio, and how often it was.
    pub fn counters(&self) -> [(&'static str, u64); 6] {
        let counts = &*self.0;
        [
            ("citadel_server_csr_count", &counts.requests),
            ("citadel_server_success_cert_issuance_count", &counts.issued),
            ("citadel_server_csr_parsing_err_count", &counts.malformed),
            ("citadel_server_authentication_failure_count", &counts.unauthenticated),
            ("citadel_server_id_extraction_err_count", &counts.denied),
            ("citadel_server_csr_sign_err_count", &counts.unsigned),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
