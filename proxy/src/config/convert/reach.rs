//! `filter_metadata["weft.reach"]` of a cluster: that its names are somebody else's word, and what they may stand for.

use std::str::FromStr;
use std::sync::Arc;

use api::envoy::config::core::v3::Metadata;
use api::prost_types::{Struct, value::Kind};
use runtime::Reach;

use crate::config::error::{At, ConfigError};

pub(super) fn convert(metadata: Option<&Metadata>, at: &At<'_>) -> Result<Option<Arc<Reach>>, ConfigError> {
    let Some(fields) = metadata.and_then(|metadata| metadata.filter_metadata.get("weft.reach")) else {
        return Ok(None);
    };
    let at = at.field("filter_metadata");
    let at = at.key("weft.reach");
    let allowed = list(fields, "allowed", "is a range of addresses, such as 127.0.0.0/8", &at)?;
    let refused = list(fields, "refused", "is an address with a port, such as 10.0.0.5:15012", &at)?;
    Ok(Some(Arc::new(Reach { allowed, refused })))
}

fn list<T: FromStr>(fields: &Struct, name: &str, rule: &str, at: &At<'_>) -> Result<Vec<T>, ConfigError> {
    let at = at.key(name);
    let Some(value) = fields.fields.get(name) else { return Ok(Vec::new()) };
    let Some(Kind::ListValue(values)) = &value.kind else { return Err(at.refuse("no list", rule)) };
    let one = |(index, value): (usize, &api::prost_types::Value)| match &value.kind {
        Some(Kind::StringValue(text)) => text.parse().map_err(|_| at.index(index).refuse(text, rule)),
        _ => Err(at.index(index).refuse("no text", rule)),
    };
    values.values.iter().enumerate().map(one).collect()
}
