//! Names of other things inside a VirtualService: hosts, gateways, destinations.

use super::{Destination, VirtualService, WeightedDestination};
use crate::diagnostic::code;
use crate::kinds::check::{self, Scope, Wildcard};
use crate::reader::{Object, Place};

/// What the readers below know of the object they are in.
pub(super) struct Context<'s> {
    pub scope: &'s Scope<'s>,
    pub in_mesh: bool,
    pub delegate: bool,
}

pub(super) fn hosts(o: &Object<'_>, in_mesh: bool) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    o.each("hosts", |place| {
        let text = place.text()?;
        if !check::is_address(&text)
            && let Err(why) = check::host_rule(&text, Wildcard::PartOfLabel)
        {
            place.error(why);
        }
        if text == "*" && in_mesh {
            place.error("\"*\" is not allowed in the mesh; bind it to gateways");
        }
        if let Some(other) = seen.iter().find(|other| covers(other, &text) || covers(&text, other)) {
            place.error(format!("{text:?} overlaps {other:?}"));
        }
        seen.push(text.clone());
        Some(text)
    })
}

/// Whether a host, wildcard or not, covers another.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        Some(suffix) => inner.trim_start_matches('*').ends_with(suffix),
        None => outer.eq_ignore_ascii_case(inner),
    }
}

/// The field `gateways`, each completed to `namespace/name`.
pub(super) fn gateways(o: &Object<'_>, scope: &Scope<'_>) -> Vec<String> {
    o.each("gateways", |place| gateway(place, scope))
}

fn gateway(place: &Place<'_>, scope: &Scope<'_>) -> Option<String> {
    let text = place.text()?;
    if text == VirtualService::MESH {
        return Some(text);
    }
    if let Some((namespace, name)) = text.split_once('/') {
        let namespace = if namespace == "." { scope.namespace } else { namespace };
        if !api::is_dns_label(namespace) || check::host_rule(name, Wildcard::None).is_err() {
            place.error(format!("{text:?} is no gateway: write name or namespace/name"));
        }
        return Some(format!("{namespace}/{name}"));
    }
    if let Err(why) = check::host_rule(&text, Wildcard::None) {
        place.error(why);
    }
    match text.split_once('.') {
        Some((name, rest)) => {
            let namespace = rest.split('.').next().unwrap_or_default();
            place.warn(code::SCHEMA_WARNING, format!("a full name of a gateway; write {namespace}/{name}"));
            Some(format!("{namespace}/{name}"))
        }
        None => Some(format!("{}/{text}", scope.namespace)),
    }
}

pub(super) fn destination(place: &Place<'_>) -> Option<Destination> {
    place.object(|o| {
        let host = o.required("host").and_then(|place| {
            let host = check::host(&place, Wildcard::PartOfLabel)?;
            if host == "*" {
                place.error("\"*\" is no destination");
            }
            Some(host)
        });
        Destination {
            host: host.unwrap_or_default(),
            subset: o.field("subset").and_then(|place| check::dns_label(&place)),
            port: o.read("port", |place| place.object(|o| o.required("number")?.port())?),
        }
    })
}

/// The route of a TLS or TCP rule.
pub(super) fn weighted(o: &Object<'_>) -> Vec<WeightedDestination> {
    let route = o.each("route", |place| {
        place.object(|o| WeightedDestination {
            destination: o.required("destination").and_then(|place| destination(&place)).unwrap_or_default(),
            weight: o.count("weight").unwrap_or_default(),
        })
    });
    if route.is_empty() {
        o.error_at("route", "at least one destination is required");
    }
    check_weights(o, route.iter().map(|entry| entry.weight));
    route
}

pub(super) fn check_weights(o: &Object<'_>, weights: impl ExactSizeIterator<Item = u32>) {
    let count = weights.len();
    let sum: u64 = weights.map(u64::from).sum();
    if count > 1 && sum == 0 {
        o.error_at("route", "the weights make 0: nothing would get any traffic");
    }
    if sum > u64::from(u32::MAX) {
        o.error_at("route", "the weights make more than 4294967295");
    }
}
