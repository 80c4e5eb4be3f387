//! Which requests are traced, what is told of them, and to whom.

use std::collections::BTreeMap;

use super::{WorkloadMode, mode, providers};
use crate::diagnostic::code;
use crate::kinds::Percent;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracing {
    pub mode: WorkloadMode,
    /// `None`: that of the next wider scope.
    pub provider: Option<String>,
    /// Of requests of which nobody decided yet.
    pub sampling: Option<Percent>,
    pub disable_span_reporting: Option<bool>,
    /// Takes the place of the tags of wider scopes.
    pub custom_tags: Option<BTreeMap<String, TagSource>>,
    pub use_request_id: Option<bool>,
}

/// Where a span's tag has its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagSource {
    Literal(String),
    Header {
        name: String,
        default: String,
    },
    /// A variable of the proxy's environment.
    Environment {
        name: String,
        default: String,
    },
}

pub(super) fn read(place: &Place<'_>) -> Option<Tracing> {
    place.object(|o| {
        if o.flag("enableIstioTags") {
            o.warn_at(
                code::SCHEMA_WARNING,
                "enableIstioTags",
                "the tags istio.* are not added; write them as customTags",
            );
        }
        if o.flag("disableContextPropagation") {
            o.error_at("disableContextPropagation", "contexts are always passed on; leave it out");
        }
        let providers = providers(o);
        if providers.len() > 1 {
            o.warn_at(code::SCHEMA_WARNING, "providers", "spans go to the first of them only");
        }
        Tracing {
            mode: o.read("match", |place| place.object(mode)).unwrap_or_default(),
            provider: providers.into_iter().next(),
            sampling: o.read("randomSamplingPercentage", |place| place.share()),
            disable_span_reporting: o.flag_if_set("disableSpanReporting"),
            custom_tags: o.field("customTags").map(|place| tags(&place)),
            use_request_id: o.flag_if_set("useRequestIdForTraceSampling"),
        }
    })
}

fn tags(place: &Place<'_>) -> BTreeMap<String, TagSource> {
    let entries = place.entries().into_iter();
    entries.filter_map(|(name, place)| Some((name.to_owned(), tag(name, &place)?))).collect()
}

fn tag(name: &str, place: &Place<'_>) -> Option<TagSource> {
    const SOURCES: [&str; 3] = ["literal", "environment", "header"];
    if name.is_empty() {
        place.error("a tag's name must not be empty");
    }
    place.object(|o| {
        o.refuse("formatter", "tags of formats are not supported; use literal, environment or header");
        o.at_most_one(&SOURCES);
        if !o.has("formatter") {
            o.at_least_one(&SOURCES);
        }
        let named =
            |place: &Place<'_>| place.object(|o: &Object<'_>| (o.required_text("name"), o.text("defaultValue")));
        let literal = o.read("literal", |place| place.object(|o| TagSource::Literal(o.required_text("value"))));
        let environment = o.read("environment", named);
        let header = o.read("header", named);
        literal
            .or(environment.map(|(name, default)| TagSource::Environment { name, default }))
            .or(header.map(|(name, default)| TagSource::Header { name, default }))
    })?
}
