//! Whether other roots may take the place of those in force: who would be cut off by it, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::{Holder, OLD, Trusted, UNTOLD, Waiting};
use crate::anchor::Anchor;
use crate::ledger::pins;
use crate::{LedgerEntry, TrustBundle, sha256};

/// Those who would be cut off: for a root that signs, whoever has not told that it trusts it; for one that goes, whoever
/// has a certificate under it. To add roots cuts nobody off.
pub fn behind(
    now: &TrustBundle,
    next: &TrustBundle,
    holders: &BTreeMap<Holder, LedgerEntry>,
    told: &Trusted,
) -> Vec<Waiting> {
    let signs = |bundle: &TrustBundle| bundle.roots.first().map(Anchor::of);
    let signing = signs(next).filter(|next| Some(next) != signs(now).as_ref());
    let all = || now.roots.iter().chain(&next.roots);
    let new: BTreeSet<String> =
        all().filter(|root| Some(Anchor::of(root)) == signing).map(|root| sha256(root)).collect();
    let kept: BTreeSet<Anchor> = next.roots.iter().map(Anchor::of).collect();
    let gone = pins(now.roots.iter().filter(|root| !kept.contains(&Anchor::of(root))));
    let reason = |holder: &Holder, entry: &LedgerEntry| {
        let trusts = || told.get(holder).is_some_and(|trusted| !trusted.is_disjoint(&new));
        match () {
            () if signing.is_some() && !trusts() => Some(UNTOLD),
            () if entry.is_under(&gone) => Some(OLD),
            () => None,
        }
    };
    let waiting = |(holder, entry): (&Holder, &LedgerEntry)| Some(Waiting::of(holder, entry, reason(holder, entry)?));
    holders.iter().filter_map(waiting).collect()
}
