//! What permissions and principals have in common: they are put together from others.

use api::envoy::config::rbac::v3 as rbac;
use galley::kinds::Values;
use rbac::{Permission, Principal, permission, principal};

use super::Speech;

pub(super) trait Term: Sized {
    fn any() -> Self;
    fn and(terms: Vec<Self>) -> Self;
    fn or(terms: Vec<Self>) -> Self;
    fn not(term: Self) -> Self;
}

/// What must hold all at once. On TCP what asks for HTTP cannot be asked: it is left out and remembered.
pub(super) struct Terms<T> {
    speech: Speech,
    terms: Vec<T>,
    pub left_out: bool,
}

impl<T: Term> Terms<T> {
    pub fn new(speech: Speech) -> Self {
        Self { speech, terms: Vec::new(), left_out: false }
    }

    /// One of the wanted values, and none of the unwanted.
    pub fn add<V>(&mut self, values: &Values<V>, one: impl Fn(&V) -> T) {
        for (values, wanted) in [(&values.any, true), (&values.none, false)] {
            if !values.is_empty() {
                let either = one_of(values.iter().map(&one).collect());
                self.terms.push(if wanted { either } else { T::not(either) });
            }
        }
    }

    /// The same for what only HTTP has.
    pub fn add_http<V>(&mut self, values: &Values<V>, one: impl Fn(&V) -> T) {
        match self.speech {
            Speech::Http => self.add(values, one),
            Speech::Tcp => self.left_out |= !values.is_empty(),
        }
    }

    pub fn all(mut self) -> T {
        match self.terms.len() {
            0 => T::any(),
            1 => self.terms.swap_remove(0),
            _ => T::and(self.terms),
        }
    }
}

pub(super) fn one_of<T: Term>(mut terms: Vec<T>) -> T {
    if terms.len() == 1 { terms.swap_remove(0) } else { T::or(terms) }
}

impl Term for Permission {
    fn any() -> Self {
        permission::Rule::Any(true).into_term()
    }

    fn and(rules: Vec<Self>) -> Self {
        permission::Rule::AndRules(permission::Set { rules }).into_term()
    }

    fn or(rules: Vec<Self>) -> Self {
        permission::Rule::OrRules(permission::Set { rules }).into_term()
    }

    fn not(rule: Self) -> Self {
        permission::Rule::NotRule(Box::new(rule)).into_term()
    }
}

impl Term for Principal {
    fn any() -> Self {
        principal::Identifier::Any(true).into_term()
    }

    fn and(ids: Vec<Self>) -> Self {
        principal::Identifier::AndIds(principal::Set { ids }).into_term()
    }

    fn or(ids: Vec<Self>) -> Self {
        principal::Identifier::OrIds(principal::Set { ids }).into_term()
    }

    fn not(id: Self) -> Self {
        principal::Identifier::NotId(Box::new(id)).into_term()
    }
}

/// One condition alone.
pub(super) trait IntoTerm<T> {
    fn into_term(self) -> T;
}

impl IntoTerm<Permission> for permission::Rule {
    fn into_term(self) -> Permission {
        Permission { rule: Some(self) }
    }
}

impl IntoTerm<Principal> for principal::Identifier {
    fn into_term(self) -> Principal {
        Principal { identifier: Some(self) }
    }
}
