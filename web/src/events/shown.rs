//! What of an event a caller is shown: all of it, or what is in the namespaces that the token is for.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::access::namespace_of_proxy;
use crate::auth::Known;
use crate::feed::{News, Topic};

/// The data of an event as this caller may know it; `None`: it is about others.
pub fn to<'a>(known: &Known, news: &'a News) -> Option<Cow<'a, Value>> {
    let data = &news.data;
    if known.namespaces().is_empty() {
        return Some(Cow::Borrowed(data));
    }
    match news.topic {
        Topic::Objects | Topic::Services | Topic::Endpoints => {
            known.sees(data["namespace"].as_str()?).then_some(Cow::Borrowed(data))
        }
        Topic::Proxies => known.sees(&namespace_of_proxy(data["id"].as_str()?)?).then_some(Cow::Borrowed(data)),
        // The counts are of all namespaces.
        Topic::Problems => {
            let touched = data["namespaces"].as_array()?.iter().filter_map(Value::as_str);
            let own: Vec<&str> = touched.filter(|namespace| known.sees(namespace)).collect();
            (!own.is_empty()).then(|| Cow::Owned(json!({ "namespaces": own })))
        }
        Topic::Registries => {
            let items = data["items"].as_array()?.iter();
            let state = |item: &Value| json!({ "name": item["name"], "state": item["state"], "since": item["since"] });
            Some(Cow::Owned(json!({ "items": items.map(state).collect::<Vec<_>>() })))
        }
        Topic::Telemetry => Some(Cow::Borrowed(data)),
    }
}
