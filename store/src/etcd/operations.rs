//! A transaction as etcd takes it: at most 128 comparisons and 128 operations side by side (`--max-txn-ops`), and each
//! key once.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use super::Shared;
use crate::{ATOMIC, StoreError, Transaction};

/// Operations side by side; nested transactions hold the others. Both levels count towards etcd's limit.
const ABREAST: usize = 60;
/// Marks that are kept of processes that may be gone.
const MARKS: usize = 64;
const MARK: &str = "weft-meta/commit/";

/// What is made together.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub expect: Vec<(String, u64)>,
    /// By key; none: delete.
    changes: Vec<(String, Option<Bytes>)>,
}

impl Plan {
    /// One, unless there is more to do than fits and no condition binds it together.
    pub fn of(transaction: Transaction) -> Vec<Self> {
        let Transaction { expect, put, delete } = transaction;
        let mut changes: BTreeMap<String, Option<Bytes>> = delete.into_iter().map(|key| (key, None)).collect();
        changes.extend(put.into_iter().map(|(key, value)| (key, Some(value))));
        let mut changes: Vec<_> = changes.into_iter().collect();
        if !expect.is_empty() {
            return vec![Self { expect, changes }];
        }
        let mut plans = Vec::new();
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(ATOMIC));
            plans.push(Self { expect: Vec::new(), changes: std::mem::replace(&mut changes, rest) });
        }
        plans
    }

    pub fn is_conditional(&self) -> bool {
        !self.expect.is_empty()
    }

    /// If a condition fails, the answer holds the mark and then each key that was to be at a revision.
    pub fn transaction(&self, shared: &Shared, mark: &str) -> Txn {
        let mut operations: Vec<TxnOp> = self
            .changes
            .iter()
            .map(|(key, value)| match value {
                Some(value) => TxnOp::put(shared.key(key), value.to_vec(), None),
                None => TxnOp::delete(shared.key(key), None),
            })
            .collect();
        if !self.is_conditional() {
            return Txn::new().and_then(nested(operations));
        }
        let place = mark_of(shared);
        operations.push(TxnOp::put(place.clone(), mark, None));
        let compare = |(key, revision): &(String, u64)| {
            Compare::mod_revision(shared.key(key), CompareOp::Equal, i64::try_from(*revision).unwrap_or(i64::MAX))
        };
        let conditions: Vec<Compare> = self.expect.iter().map(compare).collect();
        let mut look = vec![TxnOp::get(place, None)];
        look.extend(self.expect.iter().map(|(key, _)| TxnOp::get(shared.key(key), None)));
        Txn::new().when(conditions).and_then(nested(operations)).or_else(look)
    }
}

fn nested(mut operations: Vec<TxnOp>) -> Vec<TxnOp> {
    if operations.len() <= ABREAST {
        return operations;
    }
    let mut groups = Vec::new();
    while !operations.is_empty() {
        let rest = operations.split_off(operations.len().min(ABREAST));
        groups.push(TxnOp::txn(Txn::new().and_then(std::mem::replace(&mut operations, rest))));
    }
    groups
}

fn mark_of(shared: &Shared) -> String {
    shared.key(&format!("{MARK}{}", shared.process))
}

/// Takes out the marks of the processes that wrote longest ago.
pub(super) async fn forget_old_marks(shared: &Shared) -> Result<(), StoreError> {
    let mut marks = shared.list(MARK).await?.entries;
    marks.sort_by_key(|mark| mark.revision);
    let old = marks.len().saturating_sub(MARKS);
    let delete: Vec<String> = marks.into_iter().take(old).map(|mark| mark.key).collect();
    for plan in Plan::of(Transaction { delete, ..Transaction::default() }) {
        shared.make(plan).await?;
    }
    Ok(())
}
