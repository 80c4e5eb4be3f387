//! Reads single values: strings, numbers, durations, enums, lists and maps.

use std::time::Duration;

use super::Place;
use super::text::{closest, duration};
use crate::kinds::{Labels, Pattern, Percent, StringMatch};
use crate::yaml::Value;

impl<'a> Place<'a> {
    pub(super) fn expected(&self, what: &str) {
        self.error(format!("expected {what}, found {}", self.node.type_name()));
    }

    pub fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => {
                let written = self.node.to_json();
                self.error(format!(
                    "expected a string, found {}: write it in quotes, \"{written}\"",
                    self.node.type_name()
                ));
                None
            }
            _ => {
                self.expected("a string");
                None
            }
        }
    }

    pub fn flag(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// A whole number; proto-JSON also lets it stand in quotes.
    pub fn integer(&self) -> Option<i64> {
        let number = match &self.node.value {
            Value::Number(number) => number
                .as_i64()
                .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|n| n as i64)),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected("a whole number");
        }
        number
    }

    pub fn number(&self) -> Option<f64> {
        let number = match &self.node.value {
            Value::Number(number) => number.as_f64(),
            Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.expected("a number");
        }
        number
    }

    /// A whole number within bounds.
    pub fn within(&self, low: i64, high: i64) -> Option<i64> {
        let number = self.integer()?;
        if (low..=high).contains(&number) {
            return Some(number);
        }
        self.error(format!("must be between {low} and {high}, not {number}"));
        None
    }

    pub fn count(&self) -> Option<u32> {
        self.within(0, i64::from(i32::MAX)).and_then(|count| u32::try_from(count).ok())
    }

    pub fn port(&self) -> Option<u16> {
        self.within(1, 65_535).and_then(|port| u16::try_from(port).ok())
    }

    /// A percentage between 0 and 100, as a number.
    pub fn share(&self) -> Option<Percent> {
        let number = self.number()?;
        if (0.0..=100.0).contains(&number) {
            return Some(Percent(number));
        }
        self.error(format!("must be between 0 and 100, not {number}"));
        None
    }

    /// `{value: 12.5}` (Istio `Percent`); not zero, it must be at least a ten-thousandth.
    pub fn percent(&self) -> Option<Percent> {
        let share = self.object(|o| o.field("value").map_or(Some(Percent(0.0)), |place| place.share()))??;
        if share.0 > 0.0 && share.0 < 0.0001 {
            self.error("must be 0 or at least 0.0001");
        }
        Some(share)
    }

    pub fn duration_or_zero(&self) -> Option<Duration> {
        let text = self.text()?;
        let Some(duration) = duration(&text) else {
            self.error(format!("{text:?} is no duration such as \"10s\", \"1.5s\" or \"100ms\""));
            return None;
        };
        if duration.subsec_nanos() % 1_000_000 != 0 {
            self.error("must be in whole milliseconds");
        }
        Some(duration)
    }

    pub fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration < Duration::from_millis(1) {
            self.error("must be at least 1ms");
        }
        Some(duration)
    }

    /// One of an enum's names.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("{text:?} is none of {}", names.join(", "));
        self.suggest(message, closest(&text, names.into_iter()));
        None
    }

    pub fn list(&self) -> Vec<Place<'a>> {
        let Value::List(items) = &self.node.value else {
            self.expected("a list");
            return Vec::new();
        };
        let numbered = items.iter().enumerate();
        let places = numbered.map(|(index, node)| self.child(node, format!("{}[{index}]", self.path)));
        places.filter(|place| !place.is_null_item()).collect()
    }

    fn is_null_item(&self) -> bool {
        if self.node.is_null() {
            self.error("must not be null");
        }
        self.node.is_null()
    }

    /// The entries of a map whose keys are data, not fields.
    pub fn entries(&self) -> Vec<(&'a str, Place<'a>)> {
        let Value::Map(pairs) = &self.node.value else {
            self.expected("a map");
            return Vec::new();
        };
        let entry = |pair: &'a crate::yaml::Pair| {
            let path = if pair.key.contains(['.', '/', '[']) {
                format!("{}[{:?}]", self.path, pair.key)
            } else {
                format!("{}.{}", self.path, pair.key)
            };
            (pair.key.as_str(), self.child(&pair.value, path))
        };
        pairs.iter().map(entry).collect()
    }

    pub fn labels(&self) -> Labels {
        let entries = self.entries().into_iter();
        entries.filter_map(|(key, place)| Some((key.to_owned(), place.text()?))).collect()
    }

    /// `{exact: …}`, `{prefix: …}` or `{regex: …}`; `empty_prefix` says whether the prefix may be empty.
    pub fn string_match(&self, empty_prefix: bool) -> Option<StringMatch> {
        self.object(|o| {
            o.at_most_one(&["exact", "prefix", "regex"]);
            let exact = o.read("exact", |place| place.text()).map(StringMatch::Exact);
            let prefix = o.read("prefix", |place| {
                let text = place.text()?;
                if text.is_empty() && !empty_prefix {
                    place.error("must not be empty");
                }
                Some(StringMatch::Prefix(text))
            });
            let regex = o.read("regex", |place| place.pattern()).map(StringMatch::Regex);
            let broken = o.has("exact") || o.has("prefix") || o.has("regex");
            let found = exact.or(prefix).or(regex);
            if found.is_none() && !broken {
                o.place().error("one of these is required: exact, prefix, regex");
            }
            found
        })?
    }

    pub fn pattern(&self) -> Option<Pattern> {
        let text = self.text()?;
        Pattern::new(&text).map_err(|why| self.error(why)).ok()
    }
}
