//! Differences that are meant.

use serde::Deserialize;

use crate::observed::Difference;
use crate::proxies::repository;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A pattern, as is the next.
    #[serde(default = "any")]
    pub bootstrap: String,
    #[serde(default = "any")]
    pub script: String,
    /// Patterns of lines that only one of the two shows.
    #[serde(default)]
    pub envoy: Vec<String>,
    #[serde(default)]
    pub weft: Vec<String>,
    /// Stands in the page on compatibility too.
    pub reason: String,
}

pub struct Accepted {
    pub entries: Vec<Entry>,
}

fn any() -> String {
    "*".to_owned()
}

impl Accepted {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(repository("tests/differential/accepted.yaml")).unwrap();
        Self { entries: serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("accepted.yaml: {error}")) }
    }

    /// Takes the lines out of a difference that are accepted, and marks the entries that were of use.
    pub fn take(&self, bootstrap: &str, difference: &mut Difference, used: &mut [bool]) {
        for (entry, used) in self.entries.iter().zip(used) {
            if matches(&entry.bootstrap, bootstrap) && matches(&entry.script, &difference.script) {
                let envoy = strike(&mut difference.envoy, &entry.envoy);
                let weft = strike(&mut difference.weft, &entry.weft);
                *used |= envoy || weft;
            }
        }
    }
}

fn strike(lines: &mut Vec<String>, patterns: &[String]) -> bool {
    let before = lines.len();
    // Names of headers may be written in another case.
    let like = |pattern: &String, line: &str| matches(&pattern.to_ascii_lowercase(), &line.to_ascii_lowercase());
    lines.retain(|line| !patterns.iter().any(|pattern| like(pattern, line)));
    lines.len() < before
}

/// Whether a text is like a pattern, in which `*` stands for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches(rest, &text[at..]))
}
