//! Fields of a document, absent ones read as empty.

use std::collections::BTreeMap;

use serde_json::Value;

pub trait Fields {
    fn at(&self, key: &str) -> &Value;
    fn has(&self, key: &str) -> bool;
    fn some_text(&self, key: &str) -> Option<String>;
    fn text(&self, key: &str) -> String;
    fn number(&self, key: &str) -> Option<u32>;
    fn port(&self, key: &str) -> Option<u16>;
    fn list(&self, key: &str) -> Vec<&Value>;
    fn texts(&self, key: &str) -> Vec<String>;
    fn labels(&self, key: &str) -> BTreeMap<String, String>;
}

impl Fields for Value {
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&Value::Null)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
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
}
