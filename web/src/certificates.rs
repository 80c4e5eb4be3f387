//! What the ledger of issued certificates says of each identity. It is read from the store now and then, so that lists
//! need not wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use citadel::LedgerEntry;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::State;

/// The certificate of an identity that ends last.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CertificateView {
    /// In hexadecimal.
    pub serial: String,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub not_after: u64,
    /// `valid`, `expiring` (less than a tenth of its life is left: it was not renewed in time) or `expired`
    pub state: &'static str,
    /// How its holder proved who it is.
    pub attested_by: String,
}

/// By identity.
#[derive(Default)]
pub(crate) struct Certificates(Mutex<Arc<BTreeMap<String, LedgerEntry>>>);

impl Certificates {
    pub fn all(&self) -> Arc<BTreeMap<String, LedgerEntry>> {
        self.0.lock().clone()
    }
}

/// Reads the ledger anew.
pub async fn refresh(state: &State) {
    match state.ledger.entries().await {
        Ok(entries) => {
            let mut latest: BTreeMap<String, LedgerEntry> = BTreeMap::new();
            for entry in entries {
                let known = latest.get(&entry.identity);
                if known.is_none_or(|known| known.not_after <= entry.not_after) {
                    latest.insert(entry.identity.clone(), entry);
                }
            }
            *state.kept.certificates.0.lock() = Arc::new(latest);
        }
        Err(error) => tracing::warn!(%error, "the ledger of certificates cannot be read"),
    }
}

impl CertificateView {
    pub fn of(entry: &LedgerEntry, now: u64) -> Self {
        Self {
            serial: entry.serial.clone(),
            issued: entry.issued,
            not_after: entry.not_after,
            state: condition(entry.issued, entry.not_after, now),
            attested_by: entry.attested_by.clone(),
        }
    }
}

fn condition(issued: u64, not_after: u64, now: u64) -> &'static str {
    let life = not_after.saturating_sub(issued);
    match () {
        () if now >= not_after => "expired",
        () if (not_after - now).saturating_mul(10) < life => "expiring",
        () => "valid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_was_not_renewed_in_time_is_expiring() {
        assert_eq!(condition(0, 3600, 1800), "valid");
        assert_eq!(condition(0, 3600, 3300), "expiring");
        assert_eq!(condition(0, 3600, 3600), "expired");
    }
}
