//! What many series name, kept once: workloads, services, identities, the ends of edges.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

#[derive(Debug)]
pub struct Pool<T: ?Sized + Eq + Hash>(HashSet<Arc<T>>);

impl<T: ?Sized + Eq + Hash> Default for Pool<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    pub fn one<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(known) = self.0.get(value.borrow()) {
            return Arc::clone(known);
        }
        let fresh: Arc<T> = value.into();
        self.0.insert(Arc::clone(&fresh));
        fresh
    }

    /// Lets go of what nobody names any more.
    pub fn tidy(&mut self) {
        self.0.retain(|one| Arc::strong_count(one) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn the_same_is_kept_once_and_only_while_it_is_named() {
        let mut pool = Pool::<str>::default();
        let (one, other) = (pool.one("a".to_owned()), pool.one("a"));
        assert!(std::sync::Arc::ptr_eq(&one, &other));
        pool.tidy();
        assert_eq!(pool.0.len(), 1);
        drop((one, other));
        pool.tidy();
        assert!(pool.0.is_empty());
    }
}
