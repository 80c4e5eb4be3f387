//! Maglev (Eisenbud et al., NSDI 2016, section 3.4, with Envoy's weights): a table that hosts fill in turn, each by its
//! own permutation; a key goes to the entry that its hash falls on.

use super::consistent::Candidate;
use super::hash::{xx, xx_seeded};

#[derive(Debug)]
pub struct Maglev(Box<[u32]>);

struct Filling {
    host: u32,
    offset: u64,
    skip: u64,
    next: u64,
    weight: f64,
    target: f64,
}

const FREE: u32 = u32::MAX;

impl Maglev {
    pub fn build(candidates: &[Candidate], size: u64) -> Self {
        if candidates.is_empty() {
            return Self(Box::default());
        }
        let heaviest = candidates.iter().map(|candidate| candidate.weight).fold(0.0, f64::max);
        let mut filling: Vec<Filling> = candidates.iter().map(|candidate| Filling::new(candidate, size)).collect();
        let mut table = vec![FREE; size as usize];
        let (mut left, mut round) = (size, 0.0);
        while left > 0 {
            round += 1.0;
            for host in &mut filling {
                // A host of half the weight takes part in every second round.
                if left == 0 || round * host.weight < host.target {
                    continue;
                }
                host.target += heaviest;
                let entry = host.next_free(&table);
                table[entry] = host.host;
                left -= 1;
            }
        }
        Self(table.into_boxed_slice())
    }

    /// Each further attempt falls elsewhere.
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        let hash = if attempt > 0 { hash ^ (u64::MAX - u64::from(attempt) + 1) } else { hash };
        let at = hash.checked_rem(self.0.len() as u64)?;
        Some(self.0[at as usize])
    }
}

impl Filling {
    fn new(candidate: &Candidate, size: u64) -> Self {
        let key = candidate.key.as_bytes();
        Self {
            host: candidate.host,
            offset: xx(key) % size,
            skip: xx_seeded(key, 1) % (size - 1).max(1) + 1,
            next: 0,
            weight: candidate.weight,
            target: 0.0,
        }
    }

    /// The table's size is prime, so that the permutation comes by every entry.
    fn next_free(&mut self, table: &[u32]) -> usize {
        loop {
            let at = (self.offset + self.skip * self.next) % table.len() as u64;
            self.next += 1;
            if table[at as usize] == FREE {
                return at as usize;
            }
        }
    }
}
