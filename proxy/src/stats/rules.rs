//! What is said of Istio's metrics (the filter `istio.stats`): which are told, and with which labels.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use api::cel::{Attributes, Expression};

use super::exposition::label;

/// Istio's metrics, by their place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Requests,
    Duration,
    RequestBytes,
    ResponseBytes,
    RequestMessages,
    ResponseMessages,
    Opened,
    Closed,
    Sent,
    Received,
}

impl Metric {
    pub const ALL: [Self; 10] = [
        Self::Requests,
        Self::Duration,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::RequestMessages,
        Self::ResponseMessages,
        Self::Opened,
        Self::Closed,
        Self::Sent,
        Self::Received,
    ];

    /// Its name without `istio_`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests_total",
            Self::Duration => "request_duration_milliseconds",
            Self::RequestBytes => "request_bytes",
            Self::ResponseBytes => "response_bytes",
            Self::RequestMessages => "request_messages_total",
            Self::ResponseMessages => "response_messages_total",
            Self::Opened => "tcp_connections_opened_total",
            Self::Closed => "tcp_connections_closed_total",
            Self::Sent => "tcp_sent_bytes_total",
            Self::Received => "tcp_received_bytes_total",
        }
    }
}

/// For all metrics of a listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricRules {
    pub of: [MetricRule; Metric::ALL.len()],
    /// What labels are made of; rules know them by place.
    pub values: Vec<Expression>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricRule {
    pub dropped: bool,
    pub removed: Vec<String>,
    pub added: Vec<(String, usize)>,
}

/// Rules, and what the expressions came to: series of one shape have the same labels.
#[derive(Clone, Debug)]
pub struct Shape {
    rules: Arc<MetricRules>,
    values: Vec<String>,
}

impl Shape {
    /// What has no value is `unknown`, as labels without a value are.
    pub fn new(rules: &Arc<MetricRules>, of: &impl Attributes) -> Self {
        let text = |value: &Expression| value.evaluate(of).map(|value| value.to_string()).unwrap_or_default();
        Self { rules: Arc::clone(rules), values: rules.values.iter().map(text).collect() }
    }

    /// The labels of each metric; `None` where it is not told.
    pub fn labels(&self, usual: &str) -> [Option<String>; Metric::ALL.len()] {
        Metric::ALL.map(|metric| self.of_metric(&self.rules.of[metric as usize], usual))
    }

    fn of_metric(&self, rule: &MetricRule, usual: &str) -> Option<String> {
        if rule.dropped {
            return None;
        }
        let replaced = |name: &str| rule.added.iter().any(|(added, _)| added == name);
        let mut labels = String::with_capacity(usual.len());
        for (name, whole) in pairs(usual) {
            if !replaced(name) && !rule.removed.iter().any(|removed| removed == name) {
                if !labels.is_empty() {
                    labels.push(',');
                }
                labels.push_str(whole);
            }
        }
        for (name, place) in &rule.added {
            label(&mut labels, name, self.values.get(*place).map_or("", String::as_str));
        }
        Some(labels)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && (Arc::ptr_eq(&self.rules, &other.rules) || self.rules == other.rules)
    }
}

impl Eq for Shape {}

impl Hash for Shape {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
    }
}

/// The labels of a text: each one's name, and all of it.
fn pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let name = &rest[..rest.find("=\"")?];
        let value = &rest[name.len() + 2..];
        let mut escaped = false;
        let end = value.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let whole = &rest[..name.len() + 2 + end + 1];
        rest = rest[whole.len()..].trim_start_matches(',');
        Some((name, whole))
    })
}

#[cfg(test)]
mod tests {
    use api::cel::{Attribute, Map, Value};

    use super::*;

    struct Get;

    impl Attributes for Get {
        fn attribute(&self, of: Attribute) -> Option<Value<'_>> {
            (of == Attribute::RequestMethod).then(|| Value::text("G\"E,T"))
        }

        fn entry(&self, _: Map, _: &str) -> Option<Value<'_>> {
            None
        }
    }

    #[test]
    fn labels_are_removed_added_and_replaced_metric_by_metric() {
        let mut rules = MetricRules::default();
        let expression = |text| Expression::parse(text).unwrap();
        rules.values = vec![expression("request.method"), expression("request.headers['x']")];
        rules.of[Metric::Requests as usize] = MetricRule {
            removed: vec!["b".into()],
            added: vec![("method".into(), 0), ("x".into(), 1), ("c".into(), 0)],
            ..MetricRule::default()
        };
        rules.of[Metric::Closed as usize].dropped = true;
        let usual = r#"a="1,b=\"2\"",b="\\",c="3",d="4""#;
        let labels = Shape::new(&Arc::new(rules), &Get).labels(usual);
        let requests = labels[Metric::Requests as usize].as_deref();
        assert_eq!(requests, Some(r#"a="1,b=\"2\"",d="4",method="G\"E,T",x="unknown",c="G\"E,T""#));
        assert_eq!(labels[Metric::Duration as usize].as_deref(), Some(usual));
        assert_eq!(labels[Metric::Closed as usize], None);
    }
}
