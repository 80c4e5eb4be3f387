//! One HTTP rule: its match, its action and its policies.

use super::refs::{Context, check_weights, destination};
use super::{HttpAction, HttpDestination, HttpRoute, action, headers, matches, policy};
use crate::reader::{Object, Place};

const ACTIONS: [&str; 4] = ["route", "redirect", "directResponse", "delegate"];

pub(super) fn read(place: &Place<'_>, context: &Context<'_>) -> Option<HttpRoute> {
    place.object(|o| {
        check_combination(o, context);
        let matches: Vec<_> = o.each("match", |place| matches::read(place, context));
        let prefix_only = !matches.is_empty() && matches.iter().all(matches::by_prefix);
        let headers = headers::read(o);
        let rewrite = o.read("rewrite", |place| place.object(|rewrite| action::rewrite(rewrite, &headers)));
        let action = read_action(o, context, prefix_only);
        Some(HttpRoute {
            name: o.text("name"),
            matches,
            rewrite,
            timeout: o.duration_or_zero("timeout"),
            retries: o.read("retries", |place| place.object(policy::retries)),
            fault: o.read("fault", |place| place.object(policy::fault)),
            mirrors: policy::mirrors(o),
            cors: o.read("corsPolicy", |place| place.object(policy::cors)),
            headers,
            action: action?,
        })
    })?
}

fn check_combination(o: &Object<'_>, context: &Context<'_>) {
    for name in ACTIONS {
        o.field(name);
    }
    o.at_most_one(&ACTIONS);
    for action in ["redirect", "directResponse"].into_iter().filter(|action| o.has(action)) {
        for field in ["fault", "rewrite"].into_iter().filter(|field| o.has(field)) {
            o.error_at(field, format!("cannot be combined with {action}"));
        }
    }
    if context.delegate && o.has("delegate") {
        o.error_at("delegate", "a delegate cannot delegate again");
    }
    o.at_least_one(&ACTIONS);
}

fn read_action(o: &Object<'_>, context: &Context<'_>, prefix_only: bool) -> Option<HttpAction> {
    let route = o.has("route").then(|| HttpAction::Route(destinations(o)));
    route
        .or(o.read("redirect", |place| place.object(|o| action::redirect(o, prefix_only)).map(HttpAction::Redirect)))
        .or(o.read("directResponse", |place| place.object(action::direct_response).map(HttpAction::Direct)))
        .or(o.read("delegate", |place| {
            place.object(|o| action::delegate(o, context.scope.namespace)).map(HttpAction::Delegate)
        }))
}

fn destinations(o: &Object<'_>) -> Vec<HttpDestination> {
    let route = o.each("route", |place| {
        place.object(|o| HttpDestination {
            destination: o.required("destination").and_then(|place| destination(&place)).unwrap_or_default(),
            weight: o.count("weight").unwrap_or_default(),
            headers: headers::read(o),
        })
    });
    if route.is_empty() {
        o.error_at("route", "at least one destination is required");
    }
    check_weights(o, route.iter().map(|entry| entry.weight));
    route
}
