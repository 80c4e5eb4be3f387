//! AuthorizationPolicy: who may do what with a workload (Istio `authorization_policy.proto`).

mod condition;
mod operation;
mod source;

use super::check;
use super::shared::Labels;
use crate::diagnostic::code;
use crate::reader::{Object, Place};

pub use condition::{AccessCondition, AddressAttribute, TextAttribute};
pub use operation::{AccessOperation, PathTemplate};
pub use source::AccessSource;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthorizationPolicy {
    /// `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<Labels>,
    pub action: AccessAction,
    /// Who is asked; only with `Custom`.
    pub provider: String,
    /// Without any, `Allow` covers nothing, which denies everything.
    pub rules: Vec<AccessRule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessAction {
    #[default]
    Allow,
    Deny,
    /// Nothing is decided; what a rule covers is marked for logs.
    Audit,
    /// A provider decides on what a rule covers.
    Custom,
}

/// Covers what one of its sources sends, one of its operations asks for, and every condition holds for; a list that is
/// empty covers everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRule {
    pub from: Vec<AccessSource>,
    pub to: Vec<AccessOperation>,
    pub when: Vec<AccessCondition>,
}

/// Holds where one of `any` does (or there is none to hold), and none of `none` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<T = String> {
    pub any: Vec<T>,
    pub none: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { any: Vec::new(), none: Vec::new() }
    }
}

impl<T> Values<T> {
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Reads a field and its negation.
    fn read(
        o: &Object<'_>,
        any: &'static str,
        none: &'static str,
        one: impl Fn(&Place<'_>) -> Option<T> + Copy,
    ) -> Self {
        Self { any: o.each(any, one), none: o.each(none, one) }
    }
}

impl AccessRule {
    /// Whether it names something that only HTTP has.
    fn asks_for_http(&self) -> bool {
        self.from.iter().any(|source| !source.request_principals.is_empty())
            || self.to.iter().any(AccessOperation::asks_for_http)
            || self.when.iter().any(AccessCondition::asks_for_http)
    }

    /// Whether a part of it that can hold for what comes to this port names something that only HTTP has.
    pub fn asks_for_http_on(&self, port: u16) -> bool {
        let takes =
            |ports: &Values<u16>| (ports.any.is_empty() || ports.any.contains(&port)) && !ports.none.contains(&port);
        let of_port = || self.to.iter().filter(|operation| takes(&operation.ports));
        let is_about_it = (self.to.is_empty() || of_port().next().is_some())
            && self.when.iter().all(|condition| match condition {
                AccessCondition::Port(ports) => takes(ports),
                AccessCondition::Address(..) | AccessCondition::Text(..) => true,
            });
        let asks = self.from.iter().any(|source| !source.request_principals.is_empty())
            || of_port().any(AccessOperation::asks_for_http)
            || self.when.iter().any(AccessCondition::asks_for_http);
        is_about_it && asks
    }

    fn names_ports(&self) -> bool {
        let in_all = !self.to.is_empty() && self.to.iter().all(|operation| !operation.ports.is_empty());
        in_all || self.when.iter().any(|condition| matches!(condition, AccessCondition::Port(_)))
    }
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> AuthorizationPolicy {
    const ACTIONS: [(&str, AccessAction); 4] = [
        ("ALLOW", AccessAction::Allow),
        ("DENY", AccessAction::Deny),
        ("AUDIT", AccessAction::Audit),
        ("CUSTOM", AccessAction::Custom),
    ];
    const MOST: usize = 512;
    check::no_target_refs(o);
    let selector = o.read("selector", |place| check::selector(place, "matchLabels", 4096));
    let action = o.choice("action", &ACTIONS).unwrap_or_default();
    let provider = o.read("provider", |place| place.object(|o| o.required_text("name"))).unwrap_or_default();
    match (action, o.has("provider")) {
        (AccessAction::Custom, false) => o.error_at("provider", "is required with action CUSTOM: who is to be asked"),
        (AccessAction::Allow | AccessAction::Deny | AccessAction::Audit, true) => {
            o.error_at("provider", "is for action CUSTOM only");
        }
        _ => {}
    }
    let rules = o.each("rules", |place| rule(place, action));
    if rules.len() > MOST {
        o.error_at("rules", format!("at most {MOST} rules, not {}", rules.len()));
    }
    let is_empty = rules.is_empty() && o.field("rules").is_none_or(|place| place.list().is_empty());
    match action {
        AccessAction::Deny | AccessAction::Custom if is_empty => {
            o.error_at("rules", "are required: without a rule it would never hold; to cover everything write [{}]");
        }
        AccessAction::Audit if is_empty => {
            o.warn_at(
                code::SCHEMA_WARNING,
                "action",
                "without a rule nothing is marked; to mark everything write [{}]",
            );
        }
        _ => {}
    }
    AuthorizationPolicy { selector, action, provider, rules }
}

fn rule(place: &Place<'_>, action: AccessAction) -> Option<AccessRule> {
    let custom = action == AccessAction::Custom;
    let rule = place.object(|o| AccessRule {
        from: parts(o, "from", "source", |o| source::read(o, custom)),
        to: parts(o, "to", "operation", operation::read),
        when: o.each("when", |place| condition::read(place, custom)),
    })?;
    if action == AccessAction::Deny && rule.asks_for_http() && !rule.names_ports() {
        place.warn(
            code::SCHEMA_WARNING,
            "on ports that do not speak HTTP what is of HTTP is left out of the rule, and the rest denies connections; name ports to keep it off them",
        );
    }
    Some(rule)
}

/// The items of `from` or `to`: objects that hold one other.
fn parts<T>(
    o: &Object<'_>,
    list: &'static str,
    inner: &'static str,
    read: impl Fn(&Object<'_>) -> Option<T>,
) -> Vec<T> {
    if o.field(list).is_some_and(|place| place.list().is_empty()) {
        o.error_at(list, "must not be empty; leave it out to cover everything");
    }
    o.each(list, |place| place.object(|o| o.required(inner)?.object(&read)?)?)
}

/// A text that is there.
fn text(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if text.is_empty() {
        place.error("must not be empty");
    }
    Some(text)
}

/// A text in which `*` stands for all, for any beginning, or for any end.
fn pattern(place: &Place<'_>) -> Option<String> {
    let text = text(place)?;
    let inner = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(&text);
    if inner.contains('*') {
        place.warn(
            code::SCHEMA_WARNING,
            format!("in {text:?} only one \"*\", at the beginning or at the end, is a wildcard; others are taken as they stand"),
        );
    }
    Some(text)
}

fn port(place: &Place<'_>) -> Option<u16> {
    let text = place.text()?;
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        place.error(format!("{text:?} is no port between 1 and 65535"));
    }
    port
}

/// `namespace/name`, or the name of an account in the policy's namespace.
fn service_account(place: &Place<'_>) -> Option<String> {
    const LONGEST: usize = 320;
    let text = text(place)?;
    let parts: Vec<&str> = text.split('/').collect();
    if text.contains('*') {
        place.error("a wildcard is not allowed in a service account");
    } else if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
        place.error(format!("{text:?} is neither namespace/name nor a name"));
    } else if text.len() > LONGEST {
        place.error(format!("at most {LONGEST} characters, not {}", text.len()));
    }
    Some(text)
}
