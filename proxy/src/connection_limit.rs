//! Which downstream connections the proxy takes: how many in all, counted over its workers (Envoy
//! `downstream_connections.v3.DownstreamConnectionsConfig`), and of whom those that go out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::users::Users;

/// Cloning shares the count.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimit {
    count: Option<Arc<Count>>,
    users: Option<Users>,
}

#[derive(Debug)]
struct Count {
    open: AtomicUsize,
    most: usize,
}

/// One connection; dropping it makes room for another.
#[derive(Debug)]
pub struct Permit(Option<Arc<Count>>);

impl ConnectionLimit {
    /// `None` is no limit, and counts nothing.
    pub fn new(most: Option<usize>) -> Self {
        Self { count: most.map(|most| Arc::new(Count { open: AtomicUsize::new(0), most })), users: None }
    }

    /// The users whose connections may go out, where not everybody's may.
    pub fn for_users(self, users: Option<Users>) -> Self {
        Self { users, ..self }
    }

    pub fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    /// `None`: there are as many as there may be.
    pub fn admit(&self) -> Option<Permit> {
        let Some(count) = &self.count else { return Some(Permit(None)) };
        let one_more = |open: usize| (open < count.most).then_some(open + 1);
        count.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(Some(Arc::clone(count))))
    }
}

impl Permit {
    /// Of a connection that does not count.
    pub fn exempt() -> Self {
        Self(None)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_makes_room_for_another() {
        let limit = ConnectionLimit::new(Some(2));
        let (first, _second) = (limit.admit().unwrap(), limit.clone().admit().unwrap());
        assert!(limit.admit().is_none());
        drop(first);
        assert!(limit.admit().is_some());
    }

    #[test]
    fn without_a_limit_every_connection_is_let_in() {
        let limit = ConnectionLimit::default();
        let all: Vec<_> = (0..100).map(|_| limit.admit()).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
