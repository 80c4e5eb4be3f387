//! Earliest deadline first: each entry comes up as often as its weight says, spread evenly.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Turn {
    deadline: f64,
    /// Ties go to the one that waited longest.
    order: u64,
    index: usize,
}

/// A schedule over entries `0..n`.
#[derive(Debug, Default)]
pub struct Schedule {
    turns: BinaryHeap<Turn>,
    now: f64,
    order: u64,
}

impl Schedule {
    pub fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut schedule = Self::default();
        for (index, weight) in weights.into_iter().enumerate() {
            schedule.push(index, weight);
        }
        schedule
    }

    fn push(&mut self, index: usize, weight: f64) {
        self.order += 1;
        let deadline = self.now + 1.0 / weight.max(f64::MIN_POSITIVE);
        self.turns.push(Turn { deadline, order: self.order, index });
    }

    /// Whose turn it is; its next turn is put off by the weight it has now.
    pub fn next(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let turn = self.turns.pop()?;
        self.now = turn.deadline;
        self.push(turn.index, weight(turn.index));
        Some(turn.index)
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}
