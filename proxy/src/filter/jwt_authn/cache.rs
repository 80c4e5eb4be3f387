//! Tokens that were verified lately (`jwt_cache_config`), so that the next request with the same one is cheap. Time and
//! audience are checked each time all the same, and a token is forgotten with the keys that it was verified with.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::jwt::{Jwks, Token};

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize {
    pub tokens: usize,
    /// Longer tokens are not kept.
    pub longest: usize,
}

#[derive(Default)]
pub struct TokenCache {
    tokens: HashMap<String, Entry>,
    uses: u64,
}

struct Entry {
    token: Rc<Token>,
    keys: Arc<Jwks>,
    used: u64,
}

impl TokenCache {
    /// The token, and the keys that verified it.
    pub fn get(&mut self, text: &str) -> Option<(Rc<Token>, Arc<Jwks>)> {
        self.uses += 1;
        let entry = self.tokens.get_mut(text)?;
        entry.used = self.uses;
        Some((Rc::clone(&entry.token), Arc::clone(&entry.keys)))
    }

    /// Keeps a token, in place of the one that was not used for longest if there are as many as there may be.
    pub fn insert(&mut self, size: CacheSize, text: &str, token: &Rc<Token>, keys: &Arc<Jwks>) {
        if text.len() > size.longest {
            return;
        }
        if self.tokens.len() >= size.tokens && !self.tokens.contains_key(text) {
            let oldest = self.tokens.iter().min_by_key(|(_, entry)| entry.used).map(|(text, _)| text.clone());
            oldest.and_then(|oldest| self.tokens.remove(&oldest));
        }
        self.uses += 1;
        let entry = Entry { token: Rc::clone(token), keys: Arc::clone(keys), used: self.uses };
        self.tokens.insert(text.to_owned(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::test_kit;
    use serde_json::json;

    #[test]
    fn the_token_that_was_not_used_for_longest_makes_room() {
        let keys = Arc::new(Jwks::parse(test_kit::set(test_kit::secret_key()).to_string().as_bytes()).unwrap());
        let token = Rc::new(Token::parse(&test_kit::token("HS256", &json!({}))).unwrap());
        let mut cache = TokenCache::default();
        let size = CacheSize { tokens: 2, longest: 1 };
        for text in ["a", "b"] {
            cache.insert(size, text, &token, &keys);
        }
        assert!(cache.get("a").is_some());
        cache.insert(size, "c", &token, &keys);
        cache.insert(size, "too long", &token, &keys);
        let kept: Vec<bool> = ["a", "b", "c", "too long"].iter().map(|text| cache.get(text).is_some()).collect();
        assert_eq!(kept, [true, false, true, false]);
    }
}
