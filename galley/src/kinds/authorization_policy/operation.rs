//! What is asked for (Istio `Operation`), and paths with templates.

use super::{Values, pattern, port};
use crate::reader::{Object, Place};

/// What it names holds all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessOperation {
    /// In any case; one without a port is meant with every port.
    pub hosts: Values,
    pub ports: Values<u16>,
    pub methods: Values,
    /// Without the query; with `*` at one end, or a template (see `PathTemplate`).
    pub paths: Values,
}

impl AccessOperation {
    pub(super) fn asks_for_http(&self) -> bool {
        !(self.hosts.is_empty() && self.methods.is_empty() && self.paths.is_empty())
    }
}

/// A step of a path template: `/tenants/{*}/files/{**}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathTemplate<'a> {
    Literal(&'a str),
    /// `{*}`: one step, whatever it is.
    One,
    /// `{**}`: the rest of the path, perhaps nothing.
    Rest,
}

impl<'a> PathTemplate<'a> {
    /// The steps between slashes; `None` if the path is no template.
    pub fn steps(path: &'a str) -> Option<impl Iterator<Item = Self>> {
        let step = |step: &'a str| match step {
            "{*}" => Self::One,
            "{**}" => Self::Rest,
            text => Self::Literal(text),
        };
        path.contains(['{', '}']).then(|| path.split('/').map(step))
    }
}

pub(super) fn read(o: &Object<'_>) -> Option<AccessOperation> {
    let operation = AccessOperation {
        hosts: Values::read(o, "hosts", "notHosts", pattern),
        ports: Values::read(o, "ports", "notPorts", port),
        methods: Values::read(o, "methods", "notMethods", pattern),
        paths: Values::read(o, "paths", "notPaths", path),
    };
    if operation == AccessOperation::default() {
        o.place().error("must name something; leave to out to cover everything");
    }
    Some(operation)
}

fn path(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if !text.contains(['{', '}']) {
        return pattern(place);
    }
    if let Err(why) = template_rule(&text) {
        place.error(format!("{text:?} is no path template: {why}"));
    }
    Some(text)
}

fn template_rule(text: &str) -> Result<(), String> {
    // What may stand in a step as it is (RFC 3986 section 3.3, less `*`).
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=".contains(c);
    if !text.starts_with('/') {
        return Err("it begins with /".into());
    }
    let steps: Vec<_> = PathTemplate::steps(text).into_iter().flatten().collect();
    for (index, step) in steps.iter().enumerate() {
        match step {
            PathTemplate::Rest if index + 1 < steps.len() => return Err("{**} stands only at the end".into()),
            PathTemplate::Literal(literal) if !literal.chars().all(plain) => {
                return Err(format!("{literal:?} is neither {{*}} nor {{**}} nor plain text"));
            }
            _ => {}
        }
    }
    Ok(())
}
