//! Configurations in use, so that all workers share one: what it is made of is there once, and a session that began on
//! one worker is resumed on any.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Secret;

/// Of one kind of context `C`, made into `T`.
pub struct Shared<C, T> {
    entries: Mutex<HashMap<Key, Entry<C, T>>>,
}

/// The context and the secrets, each by where it is: a change of either is another value.
type Key = (usize, Vec<usize>);

struct Entry<C, T> {
    /// Held so that nothing else can come to be where these are.
    _of: (Arc<C>, Vec<Arc<Secret>>),
    made: Weak<T>,
}

/// So many may be forgotten before they are looked for.
const SWEEP: usize = 64;

impl<C, T> Shared<C, T> {
    pub fn new() -> Self {
        Self { entries: Mutex::default() }
    }

    /// What is made of a context and its secrets, made anew only if nobody has it.
    pub fn get<E>(
        &self,
        context: &Arc<C>,
        secrets: Vec<Arc<Secret>>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let key = (Arc::as_ptr(context) as usize, secrets.iter().map(|secret| Arc::as_ptr(secret) as usize).collect());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = entries.get(&key).and_then(|entry| entry.made.upgrade()) {
            return Ok(made);
        }
        let made = Arc::new(make()?);
        if entries.len() >= SWEEP && entries.len().is_power_of_two() {
            entries.retain(|_, entry| entry.made.strong_count() > 0);
        }
        entries.insert(key, Entry { _of: (Arc::clone(context), secrets), made: Arc::downgrade(&made) });
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_made_once_and_a_change_is_made_anew() {
        let shared: Shared<&str, u32> = Shared::new();
        let context = Arc::new("context");
        let secret = || Arc::new(Secret::TrustedCa(vec![1]));
        let (one, other) = (secret(), secret());
        let get = |secret: &Arc<Secret>, made| shared.get(&context, vec![Arc::clone(secret)], || Ok::<_, ()>(made));
        let first = get(&one, 1).unwrap();
        assert_eq!((*get(&one, 2).unwrap(), *get(&other, 3).unwrap()), (1, 3));
        drop(first);
        assert_eq!(*get(&one, 4).unwrap(), 4);
    }
}
