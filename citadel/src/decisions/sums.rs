//! So that nobody can fill a disk with what is written down of him: the first of each client and kind within a minute
//! are told one by one, the rest as a sum.

use std::collections::BTreeMap;

use super::{Decision, Outcome, Wanted};

/// For so long decisions of one kind are summed up, in seconds.
const WINDOW: u64 = 60;
/// So many certificates or tokens of one holder are told one by one within that.
const ISSUED: u64 = 20;
/// So many refusals of one client.
const REFUSED: u64 = 3;
/// Clients whose refusals are told apart within that; those of all others are one sum.
const CLIENTS: usize = 200;

/// One decision, or the last of several that were alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub decision: Decision,
    /// Besides those that were told one by one; 1 for such a one.
    pub count: u64,
    /// Over how many seconds they were counted; 0 for one.
    pub within: u64,
    /// Whether they are of several clients.
    pub of_others: bool,
}

/// Counts what is alike. The time is passed in, in Unix seconds.
#[derive(Debug, Default)]
pub struct Sums {
    begun: u64,
    seen: BTreeMap<Key, Sum>,
    refused_clients: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    wanted: Wanted,
    /// None: all others.
    who: Option<String>,
    /// The number of the status; none for what was issued.
    code: Option<i32>,
}

#[derive(Debug)]
struct Sum {
    told: u64,
    more: u64,
    last: Decision,
}

impl Sums {
    /// What is to be told of a decision now; none if it is only counted.
    pub fn take(&mut self, decision: Decision, now: u64) -> Option<Told> {
        if self.seen.is_empty() {
            self.begun = now;
        }
        let code = match &decision.outcome {
            Outcome::Issued { .. } => None,
            Outcome::Refused { code, .. } => Some(*code as i32),
        };
        let mut key = Key { wanted: decision.wanted, who: Some(who(&decision)), code };
        let mut at_first = if code.is_none() { ISSUED } else { REFUSED };
        if code.is_some() && !self.seen.contains_key(&key) {
            if self.refused_clients < CLIENTS {
                self.refused_clients += 1;
            } else {
                (key.who, at_first) = (None, 0);
            }
        }
        let sum = self.seen.entry(key).or_insert_with(|| Sum { told: 0, more: 0, last: decision.clone() });
        if sum.told < at_first {
            sum.told += 1;
            return Some(Told { decision, count: 1, within: 0, of_others: false });
        }
        (sum.more, sum.last) = (sum.more + 1, decision);
        None
    }

    /// The sums, once their time is over.
    pub fn due(&mut self, now: u64) -> Vec<Told> {
        if self.seen.is_empty() || now < self.begun.saturating_add(WINDOW) { Vec::new() } else { self.all(now) }
    }

    /// The sums as they are.
    pub fn all(&mut self, now: u64) -> Vec<Told> {
        self.refused_clients = 0;
        let within = now.saturating_sub(self.begun);
        let seen = std::mem::take(&mut self.seen).into_iter().filter(|(_, sum)| sum.more > 0);
        seen.map(|(key, sum)| Told { decision: sum.last, count: sum.more, within, of_others: key.who.is_none() })
            .collect()
    }
}

/// By what a client is told from others: its identity where that is known, else its address.
fn who(decision: &Decision) -> String {
    match (&decision.member, &decision.from) {
        (Some(member), _) => member.clone(),
        (None, _) if !decision.identity.is_empty() => decision.identity.clone(),
        (None, Some(from)) => from.to_string(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tonic::Code;

    use super::*;

    fn refusal(from: u32, code: Code) -> Decision {
        let from = Some(IpAddr::V4(Ipv4Addr::from(from)));
        Decision { from, outcome: Outcome::Refused { code, reason: "no".into() }, ..Decision::default() }
    }

    fn issued(identity: &str) -> Decision {
        let outcome = Outcome::Issued { what: "5f".into(), until: 9 };
        Decision { identity: identity.into(), outcome, ..Decision::default() }
    }

    #[test]
    fn a_flood_of_one_client_is_a_few_lines_and_a_sum_and_hides_nobody() {
        let mut sums = Sums::default();
        let told = (0..100_000).filter_map(|_| sums.take(refusal(1, Code::Unauthenticated), 100)).count();
        assert_eq!(told as u64, REFUSED);
        for other in [refusal(2, Code::Unauthenticated), refusal(1, Code::PermissionDenied), issued("a")] {
            let alone = Some(Told { decision: other.clone(), count: 1, within: 0, of_others: false });
            assert_eq!(sums.take(other, 101), alone);
        }
        assert_eq!(sums.due(159), []);
        let due = sums.due(160);
        assert_eq!((due.len(), due[0].count, due[0].within, due[0].of_others), (1, 100_000 - REFUSED, 60, false));
        assert_eq!((sums.due(400), sums.all(400)), (vec![], vec![]));
        assert!(sums.take(refusal(1, Code::Unauthenticated), 401).is_some(), "it is told anew");
    }

    #[test]
    fn a_flood_from_many_addresses_is_bounded_too_and_counted_whole() {
        let mut sums = Sums::default();
        let told = (0..50_000).filter_map(|from| sums.take(refusal(from, Code::Unauthenticated), 0)).count();
        assert_eq!(told, CLIENTS);
        assert!(sums.seen.len() <= CLIENTS + 1);
        let due = sums.due(60);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].count as usize, due[0].of_others), (50_000 - CLIENTS, true));
    }

    #[test]
    fn every_certificate_of_an_ordinary_workload_is_told_by_itself() {
        let mut sums = Sums::default();
        for agent in 0..1000 {
            for _ in 0..5 {
                assert!(sums.take(issued(&format!("agent-{agent}")), 7).is_some());
            }
        }
        assert_eq!(sums.due(67), []);
    }
}
