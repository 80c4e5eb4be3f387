//! Changes to headers as a filter.

use std::sync::Arc;

use api::envoy::config::common::mutation_rules::v3 as rules;
use api::envoy::config::core::v3 as core;
use api::envoy::extensions::filters::http::header_mutation::v3 as wire;
use api::prost_types::value::Kind;
use core::key_value_append::KeyValueAppendAction;
use rules::header_mutation::Action;

use super::super::{matcher, mutation};
use crate::access_log::Format;
use crate::config::AppendAction;
use crate::config::error::{At, ConfigError};
use crate::filter::header_mutation::{Change, Mutations, Mutator, QueryChange};

pub fn filter(wire: &wire::HeaderMutation, at: &At<'_>) -> Result<Mutator, ConfigError> {
    let own = mutations(wire.mutations.as_ref(), &at.field("mutations"))?;
    Ok(Mutator { own, most_specific_wins: wire.most_specific_header_mutations_wins })
}

pub fn mutations(wire: Option<&wire::Mutations>, at: &At<'_>) -> Result<Arc<Mutations>, ConfigError> {
    let Some(wire) = wire else { return Ok(Arc::default()) };
    let query = at.field("query_parameter_mutations");
    let query =
        wire.query_parameter_mutations.iter().enumerate().map(|(index, one)| parameter(one, &query.index(index)));
    Ok(Arc::new(Mutations {
        request: changes(&wire.request_mutations, true, &at.field("request_mutations"))?,
        query: query.collect::<Result<_, _>>()?,
        response: changes(&wire.response_mutations, false, &at.field("response_mutations"))?,
    }))
}

fn changes(wire: &[rules::HeaderMutation], request: bool, at: &At<'_>) -> Result<Vec<Change>, ConfigError> {
    wire.iter().enumerate().map(|(index, one)| change(one, request, &at.index(index))).collect()
}

fn change(wire: &rules::HeaderMutation, request: bool, at: &At<'_>) -> Result<Change, ConfigError> {
    let none = (&[][..], &[][..]);
    let lists = |lists| match request {
        true => mutation::lists(lists, none, at),
        false => mutation::lists(none, lists, at),
    };
    Ok(match &wire.action {
        Some(Action::Remove(name)) => Change::One(lists((&[], std::slice::from_ref(name)))?),
        Some(Action::Append(header)) => Change::One(lists((std::slice::from_ref(header), &[]))?),
        Some(Action::RemoveOnMatch(wire)) => {
            let at = at.field("remove_on_match");
            let at = at.field("key_matcher");
            Change::RemoveMatching(matcher::string(wire.key_matcher.as_ref().ok_or_else(|| at.missing())?, &at)?)
        }
        None => return Err(at.missing()),
    })
}

fn parameter(wire: &core::KeyValueMutation, at: &At<'_>) -> Result<QueryChange, ConfigError> {
    let Some(append) = &wire.append else {
        return if wire.remove.is_empty() { Err(at.missing()) } else { Ok(QueryChange::Remove(wire.remove.clone())) };
    };
    if !wire.remove.is_empty() {
        return Err(at.field("remove").refuse(&wire.remove, "stands without `append`"));
    }
    let at = at.field("append");
    let record = at.field("record");
    let pair = append.record.as_ref().ok_or_else(|| record.missing())?;
    let Some(Kind::StringValue(text)) = pair.value.as_ref().and_then(|value| value.kind.as_ref()) else {
        return Err(record.field("value").refuse("another kind", "is a text"));
    };
    let value = Format::parse(text).map_err(|error| record.field("value").refuse(text, error.to_string()))?;
    let action = match KeyValueAppendAction::try_from(append.action) {
        Ok(KeyValueAppendAction::AppendIfExistsOrAdd) => AppendAction::AppendIfExistsOrAdd,
        Ok(KeyValueAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
        Ok(KeyValueAppendAction::OverwriteIfExistsOrAdd) => AppendAction::OverwriteIfExistsOrAdd,
        Ok(KeyValueAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        Err(_) => return Err(at.field("action").refuse(append.action, "is not known")),
    };
    Ok(QueryChange::Set { name: pair.key.clone(), value, action })
}
