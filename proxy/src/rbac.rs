//! Role-based access control (Envoy, `envoy.config.rbac.v3`): policies that say who may do what, and what they decide
//! on a request or connection. The filters that ask are in `filter/rbac.rs` and `network_filter/rbac.rs`.
//!
//! What must hold: a decision sees the request byte for byte as it is forwarded, and a header that stands several
//! times is judged value by value, never as one text, so that no repetition turns a denial into a permission.

mod metadata;
mod policy;

pub use metadata::{MetadataMatch, ValueMatch};
pub use policy::{Permission, Policy, Principal};

use crate::access_log::{ConnectionInfo, RequestInfo};
use crate::http::message::RequestHead;

/// `envoy.config.rbac.v3.RBAC`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub action: Action,
    /// In the order of their names, in which they are asked.
    pub policies: Vec<Policy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What no policy covers is denied.
    Allow,
    /// What a policy covers is denied.
    Deny,
    /// Nothing is denied; what a policy covers is marked for access logs.
    Log,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub connection: &'a ConnectionInfo,
    pub info: &'a RequestInfo,
    /// `None` where no HTTP is spoken: what asks for a header or a path does not hold there.
    pub head: Option<&'a RequestHead>,
    /// Its path without the query, which rules ask for again and again.
    path: Option<&'a str>,
}

impl<'a> Facts<'a> {
    pub fn new(connection: &'a ConnectionInfo, info: &'a RequestInfo, head: Option<&'a RequestHead>) -> Self {
        Self { connection, info, head, path: head.map(|head| crate::route::path_only(&head.path)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Whether a policy covers it.
    pub policy: Option<usize>,
}

impl Rules {
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let policy = self.policies.iter().position(|policy| policy.covers(facts));
        let allowed = match self.action {
            Action::Allow => policy.is_some(),
            Action::Deny => policy.is_none(),
            Action::Log => true,
        };
        Decision { allowed, policy }
    }

    /// The name of the policy that a decision rests on.
    pub fn effective(&self, decision: Decision) -> Option<&str> {
        Some(&self.policies.get(decision.policy?)?.name)
    }

    /// As `%RESPONSE_CODE_DETAILS%` and `%CONNECTION_TERMINATION_DETAILS%` print a denial: one word.
    pub fn denial(&self, decision: Decision) -> String {
        let name = self.effective(decision).unwrap_or("none");
        let name: String = name.chars().map(|c| if c.is_ascii_whitespace() { '_' } else { c }).collect();
        format!("rbac_access_denied_matched_policy[{name}]")
    }
}

impl Decision {
    /// As dynamic metadata has it.
    pub fn as_str(self) -> &'static str {
        if self.allowed { "allowed" } else { "denied" }
    }
}

#[cfg(test)]
mod tests;
