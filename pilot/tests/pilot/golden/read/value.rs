//! Fields of a document, absent ones read as empty.

use std::collections::BTreeMap;
use std::time::Duration;

use galley::kinds::{ExportTo, HeaderMatch, Pattern, Percent, StringMatch};
use serde_json::Value;

pub trait Fields {
    fn at(&self, key: &str) -> &Value;
    fn has(&self, key: &str) -> bool;
    fn some(&self, key: &str) -> Option<&Value>;
    fn some_text(&self, key: &str) -> Option<String>;
    fn text(&self, key: &str) -> String;
    fn number(&self, key: &str) -> Option<u32>;
    fn port(&self, key: &str) -> Option<u16>;
    fn list(&self, key: &str) -> Vec<&Value>;
    fn texts(&self, key: &str) -> Vec<String>;
    fn labels(&self, key: &str) -> BTreeMap<String, String>;
    fn duration(&self, key: &str) -> Option<Duration>;
    fn percent(&self, key: &str) -> Option<Percent>;
    fn string_match(&self, key: &str) -> Option<StringMatch>;
    fn header_matches(&self, key: &str) -> BTreeMap<String, HeaderMatch>;
    fn export_to(&self, namespace: &str) -> ExportTo;
}

impl Fields for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&Value::Null)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn some(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    fn some_text(&self, key: &str) -> Option<String> {
        self.at(key).as_str().map(str::to_owned)
    }

    fn text(&self, key: &str) -> String {
        self.some_text(key).unwrap_or_default()
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.at(key).as_u64().map(|number| u32::try_from(number).unwrap())
    }

    fn port(&self, key: &str) -> Option<u16> {
        self.number(key).map(|number| u16::try_from(number).unwrap())
    }

    fn list(&self, key: &str) -> Vec<&Value> {
        self.at(key).as_array().into_iter().flatten().collect()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).into_iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    fn labels(&self, key: &str) -> BTreeMap<String, String> {
        let fields = self.at(key).as_object().into_iter().flatten();
        fields.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// `1.5s`, `100ms`, `1m`.
    fn duration(&self, key: &str) -> Option<Duration> {
        let text = self.some_text(key)?;
        let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let (number, unit) = text.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            other => panic!("unit {other:?}"),
        };
        Some(Duration::from_secs_f64(number.parse::<f64>().unwrap() * seconds))
    }

    fn percent(&self, key: &str) -> Option<Percent> {
        self.some(key).map(|percent| Percent(percent.at("value").as_f64().unwrap()))
    }

    fn string_match(&self, key: &str) -> Option<StringMatch> {
        let value = self.some(key)?;
        let exact = value.some_text("exact").map(StringMatch::Exact);
        let prefix = || value.some_text("prefix").map(StringMatch::Prefix);
        exact
            .or_else(prefix)
            .or_else(|| value.some_text("regex").map(|r| StringMatch::Regex(Pattern::new(&r).unwrap())))
    }

    fn header_matches(&self, key: &str) -> BTreeMap<String, HeaderMatch> {
        let holder = self.at(key);
        let fields = holder.as_object().into_iter().flatten();
        fields
            .map(|(name, _)| (name.clone(), holder.string_match(name).map_or(HeaderMatch::Present, HeaderMatch::Value)))
            .collect()
    }

    fn export_to(&self, namespace: &str) -> ExportTo {
        let names = self.texts("exportTo");
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return ExportTo::All;
        }
        let own = |name: String| if name == "." { namespace.to_owned() } else { name };
        ExportTo::Namespaces(names.into_iter().map(own).collect())
    }
}
