//! The hosts that a request has tried, for a retry policy that goes on to priorities that were not (Envoy
//! `envoy.retry_priorities.previous_priorities`).

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;

use super::cluster::Hosts;
use super::host::Host;
use crate::load_balancer::{HostSet, Load};

pub struct Tried {
    /// After each so many tries, the priorities tried so far are left.
    leave_after: NonZeroU32,
    hosts: RefCell<Vec<Rc<Host>>>,
}

impl Tried {
    pub fn new(leave_after: NonZeroU32) -> Self {
        Self { leave_after, hosts: RefCell::default() }
    }

    pub fn add(&self, host: &Rc<Host>) {
        self.hosts.borrow_mut().push(Rc::clone(host));
    }

    /// The shares of the priorities that are not left; `None`: those that hold without retries. When nothing is
    /// available beyond the priorities that were tried, it begins anew.
    pub(super) fn loads(&self, all: &Hosts, set: &HostSet) -> Option<Box<[Load]>> {
        let mut hosts = self.hosts.borrow_mut();
        let every = self.leave_after.get() as usize;
        let counted = hosts.len() - hosts.len() % every;
        if counted == 0 {
            return None;
        }
        // A host that is no longer in the cluster has no priority.
        let number = |tried: &Rc<Host>| all.hosts.iter().position(|host| Rc::ptr_eq(host, tried));
        let left: Vec<u32> =
            hosts[..counted].iter().filter_map(number).filter_map(|host| set.priority_of(host)).collect();
        let loads = set.loads_without(&left);
        if loads.is_none() {
            hosts.clear();
        }
        loads
    }
}
