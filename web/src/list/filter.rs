//! Which items of a list are asked for, in what order, and what of each.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ListQuery;
use super::expression::Expression;
use crate::problem::Problem;

/// What a query asks of items, as far as it is known to be well written before there are any.
pub struct Conditions<'a> {
    labels: Vec<Term<'a>>,
    wanted: Option<Expression>,
}

impl<'a> Conditions<'a> {
    pub fn parse(query: &'a ListQuery) -> Result<Self, Problem> {
        let labels = query.labels.as_deref().map(Term::parse_all).transpose()?.unwrap_or_default();
        let wanted = query.filter.as_deref().map(Expression::parse).transpose();
        let wanted = wanted.map_err(|wrong| Problem::malformed(format!("filter: {wrong}")))?;
        Ok(Self { labels, wanted })
    }
}

pub fn choose(mut items: Vec<Value>, query: &ListQuery, conditions: &Conditions<'_>) -> Result<Vec<Value>, Problem> {
    if let Some(namespaces) = &query.namespace {
        let named = |item: &Value| {
            let namespace = item["namespace"].as_str();
            namespaces.split(',').any(|wanted| namespace == Some(wanted.trim()))
        };
        items.retain(named);
    }
    let terms = &conditions.labels;
    if !terms.is_empty() {
        if !items.is_empty() && items.iter().all(|item| item.get("labels").is_none()) {
            return Err(Problem::malformed("these items have no labels; leave `labels` out"));
        }
        items.retain(|item| {
            let labels = &item["labels"];
            terms.iter().all(|term| term.holds(|key| labels.get(key).and_then(Value::as_str)))
        });
    }
    if let Some(wanted) = &conditions.wanted {
        if let Some(field) = wanted.fields().into_iter().find(|field| !known(&items, field)) {
            return Err(unknown("filter", field, &items));
        }
        items.retain(|item| wanted.holds(item));
    }
    if let Some(text) = &query.q {
        let text = text.to_lowercase();
        items.retain(|item| holds(item, &text));
    }
    if let Some(field) = &query.sort {
        sort(&mut items, field)?;
    }
    if let Some(fields) = &query.fields {
        let fields: Vec<&str> = fields.split(',').map(str::trim).collect();
        for field in &fields {
            if !known(&items, field) {
                return Err(unknown("fields", field, &items));
            }
        }
        items = items.iter().map(|item| only(item, &fields)).collect();
    }
    Ok(items)
}

/// One condition of a label selector.
enum Term<'a> {
    Equal(&'a str, &'a str),
    Unequal(&'a str, &'a str),
    Present(&'a str),
    Absent(&'a str),
}

impl<'a> Term<'a> {
    fn parse(text: &'a str) -> Result<Self, Problem> {
        let text = text.trim();
        let term = match (text.split_once("!="), text.split_once('=')) {
            (Some((key, value)), _) => Self::Unequal(key.trim(), value.trim()),
            (None, Some((key, value))) => Self::Equal(key.trim(), value.trim_start_matches('=').trim()),
            (None, None) => text.strip_prefix('!').map_or(Self::Present(text), Self::Absent),
        };
        let (Self::Equal(key, _) | Self::Unequal(key, _) | Self::Present(key) | Self::Absent(key)) = term;
        match key.is_empty() {
            true => Err(Problem::malformed(format!("{text:?} is no condition on labels; write a=b, a!=b, a or !a"))),
            false => Ok(term),
        }
    }

    fn parse_all(text: &'a str) -> Result<Vec<Self>, Problem> {
        text.split(',').map(Self::parse).collect()
    }

    /// As Kubernetes has it, a label that is absent is unequal to everything.
    fn holds<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        match self {
            Self::Equal(key, value) => label(key) == Some(*value),
            Self::Unequal(key, value) => label(key) != Some(*value),
            Self::Present(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
        }
    }
}

/// Whether labels meet all conditions, for what has several sets of them.
pub fn by_labels(conditions: &str) -> Result<impl Fn(&BTreeMap<String, String>) -> bool, Problem> {
    let terms = Term::parse_all(conditions)?;
    Ok(move |labels: &BTreeMap<String, String>| {
        terms.iter().all(|term| term.holds(|key| labels.get(key).map(String::as_str)))
    })
}

/// Whether a text is anywhere in the item's own words: not in what it holds of other things.
fn holds(item: &Value, text: &str) -> bool {
    let words = |value: &Value| value.as_str().is_some_and(|words| words.to_lowercase().contains(text));
    item.as_object().into_iter().flat_map(Map::values).any(|value| match value {
        Value::Array(values) => values.iter().any(words),
        value => words(value),
    })
}

fn sort(items: &mut [Value], field: &str) -> Result<(), Problem> {
    let (field, greatest_first) = field.strip_prefix('-').map_or((field, false), |field| (field, true));
    if !known(items, field) {
        return Err(unknown("sort", field, items));
    }
    items.sort_by(|a, b| {
        let order = compare(at(a, field).unwrap_or(&Value::Null), at(b, field).unwrap_or(&Value::Null));
        if greatest_first { order.reverse() } else { order }
    });
    Ok(())
}

/// Whether any item has the field; of no items nothing can be said.
fn known(items: &[Value], field: &str) -> bool {
    items.is_empty() || items.iter().any(|item| at(item, field).is_some())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        _ => a.to_string().cmp(&b.to_string()),
    }
}

/// `endpoints.total`
pub fn at<'a>(item: &'a Value, field: &str) -> Option<&'a Value> {
    field.split('.').try_fold(item, |value, name| value.get(name))
}

fn only(item: &Value, fields: &[&str]) -> Value {
    let mut chosen = Value::Object(Map::new());
    for field in fields {
        let Some(value) = at(item, field) else { continue };
        let mut place = &mut chosen;
        for name in field.split('.') {
            if !place.is_object() && !place.is_null() {
                break;
            }
            place = &mut place[name];
        }
        *place = value.clone();
    }
    chosen
}

fn unknown(parameter: &str, field: &str, items: &[Value]) -> Problem {
    let first = items.first().and_then(Value::as_object);
    let names: Vec<&str> = first.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    Problem::malformed(format!("{parameter}: no item has a field {field:?}; there are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn services() -> Vec<Value> {
        vec![
            json!({ "name": "reviews", "namespace": "default", "labels": { "app": "reviews" }, "size": { "total": 3 } }),
            json!({ "name": "ratings", "namespace": "default", "labels": { "app": "ratings" }, "size": { "total": 10 } }),
            json!({ "name": "web", "namespace": "shop", "labels": {}, "size": { "total": 1 } }),
        ]
    }

    fn chosen(query: &ListQuery) -> Result<Vec<Value>, Problem> {
        choose(services(), query, &Conditions::parse(query)?)
    }

    fn names(query: ListQuery) -> Vec<String> {
        let items = chosen(&query).unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn filters_leave_what_is_asked_for() {
        let query = |q: &str| ListQuery { q: Some(q.into()), ..ListQuery::default() };
        assert_eq!(names(query("RAT")), ["ratings"]);
        let labels = |labels: &str| ListQuery { labels: Some(labels.into()), ..ListQuery::default() };
        assert_eq!(names(labels("app=reviews")), ["reviews"]);
        assert_eq!(names(labels("app!=reviews")), ["ratings", "web"]);
        assert_eq!(names(labels("app,app!=ratings")), ["reviews"]);
        assert_eq!(names(labels("!app")), ["web"]);
        assert!(chosen(&labels("=x")).is_err());
        let namespace = ListQuery { namespace: Some("shop,none".into()), ..ListQuery::default() };
        assert_eq!(names(namespace), ["web"]);
    }

    #[test]
    fn an_order_is_by_number_or_by_word_and_by_a_field_that_is_there() {
        let sort = |field: &str| ListQuery { sort: Some(field.into()), ..ListQuery::default() };
        assert_eq!(names(sort("name")), ["ratings", "reviews", "web"]);
        assert_eq!(names(sort("-size.total")), ["ratings", "reviews", "web"]);
        assert!(chosen(&sort("colour")).is_err());
    }

    #[test]
    fn only_the_fields_that_are_asked_for_are_sent() {
        let query = ListQuery { fields: Some("name,size.total".into()), q: Some("web".into()), ..ListQuery::default() };
        assert_eq!(chosen(&query).unwrap(), [json!({ "name": "web", "size": { "total": 1 } })]);
    }
}
