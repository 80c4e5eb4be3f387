//! Hosts among which a policy picks, and this worker's place among them.

use std::cell::{Cell, RefCell};

use super::Ask;
use super::edf::Schedule;
use crate::config::{Choices, LbPolicy, SlowStart};

#[derive(Debug)]
pub struct Group {
    hosts: Box<[u32]>,
    /// All hosts weigh the same.
    even: bool,
    turn: Cell<u32>,
    schedule: RefCell<Option<Schedule>>,
}

impl Group {
    pub fn new(hosts: Vec<u32>, weights: &[u32]) -> Self {
        let weight = |host: u32| weights[host as usize];
        let even = hosts.windows(2).all(|pair| weight(pair[0]) == weight(pair[1]));
        Self { hosts: hosts.into(), even, turn: Cell::new(0), schedule: RefCell::new(None) }
    }

    pub fn pick(&self, weights: &[u32], policy: LbPolicy, ask: &impl Ask) -> Option<u32> {
        match self.hosts[..] {
            [] => return None,
            [only] => return Some(only),
            _ => {}
        }
        let weight = |index: usize| f64::from(weights[self.hosts[index] as usize]);
        let index = match policy {
            LbPolicy::RoundRobin { slow_start } => match warming(slow_start, ask) {
                None if self.even => self.next_turn(ask),
                None => self.scheduled(weight)?,
                Some(slow) => self.scheduled(|index| weight(index) * self.warmth(index, slow, ask))?,
            },
            LbPolicy::LeastRequest { choices, bias, slow_start } => match warming(slow_start, ask) {
                None if self.even => self.least_active(choices, ask),
                None => self.scheduled(|index| weight(index) / self.burden(index, bias, ask))?,
                Some(slow) => self
                    .scheduled(|index| weight(index) / self.burden(index, bias, ask) * self.warmth(index, slow, ask))?,
            },
            LbPolicy::Random | LbPolicy::RingHash(_) | LbPolicy::Maglev { .. } => self.any(ask),
        };
        Some(self.hosts[index])
    }

    fn any(&self, ask: &impl Ask) -> usize {
        (ask.random() % self.hosts.len() as u64) as usize
    }

    fn active(&self, index: usize, ask: &impl Ask) -> u32 {
        ask.active(self.hosts[index] as usize)
    }

    /// What the weight of a busy host is divided by.
    fn burden(&self, index: usize, bias: f64, ask: &impl Ask) -> f64 {
        let busy = f64::from(self.active(index, ask)) + 1.0;
        if bias == 1.0 { busy } else { busy.powf(bias) }
    }

    fn warmth(&self, index: usize, slow: SlowStart, ask: &impl Ask) -> f64 {
        slow.factor(ask.healthy_for(self.hosts[index] as usize))
    }

    fn least_active(&self, choices: Choices, ask: &impl Ask) -> usize {
        let count = match choices {
            Choices::All => return self.least_of_all(ask),
            Choices::Some(count) => count,
        };
        let mut best = self.any(ask);
        for _ in 1..count {
            let other = self.any(ask);
            if self.active(other, ask) < self.active(best, ask) {
                best = other;
            }
        }
        best
    }

    /// Among equals each is as likely.
    fn least_of_all(&self, ask: &impl Ask) -> usize {
        let (mut best, mut equals) = (0, 1);
        for other in 1..self.hosts.len() {
            match self.active(other, ask).cmp(&self.active(best, ask)) {
                std::cmp::Ordering::Less => (best, equals) = (other, 1),
                std::cmp::Ordering::Equal => {
                    equals += 1;
                    if ask.random().is_multiple_of(equals) {
                        best = other;
                    }
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        best
    }

    /// Round robin from a random start, so that workers do not march in step.
    fn next_turn(&self, ask: &impl Ask) -> usize {
        let turn = if self.turn.get() == 0 { self.any(ask) } else { self.turn.get() as usize - 1 };
        self.turn.set(((turn + 1) % self.hosts.len()) as u32 + 1);
        turn
    }

    fn scheduled(&self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let mut schedule = self.schedule.borrow_mut();
        schedule.get_or_insert_with(|| Schedule::new((0..self.hosts.len()).map(&weight))).next(weight)
    }
}

fn warming(slow_start: Option<SlowStart>, ask: &impl Ask) -> Option<SlowStart> {
    slow_start.filter(|slow| ask.newest() < slow.window)
}
