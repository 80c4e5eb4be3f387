//! What is compared: the lines of an observation, without what differs from one run to the next.

use std::collections::BTreeMap;
use std::fmt;

/// What one proxy did with one script.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub lines: Vec<String>,
}

/// What two proxies did differently.
pub struct Difference {
    pub script: String,
    /// Lines that only one of them shows.
    pub envoy: Vec<String>,
    pub weft: Vec<String>,
    whole: String,
}

impl Difference {
    pub fn between(script: String, envoy: &Observed, weft: &Observed) -> Option<Self> {
        if envoy.lines == weft.lines {
            return None;
        }
        let (mut only_envoy, mut only_weft, mut whole) = (Vec::new(), Vec::new(), String::new());
        for line in diff(&envoy.lines, &weft.lines) {
            let (mark, text) = match line {
                Line::Both(text) => (' ', text),
                Line::Left(text) => {
                    only_envoy.push(text.clone());
                    ('-', text)
                }
                Line::Right(text) => {
                    only_weft.push(text.clone());
                    ('+', text)
                }
            };
            whole.push_str(&format!("  {mark} {text}\n"));
        }
        Some(Self { script, envoy: only_envoy, weft: only_weft, whole })
    }

    pub fn is_empty(&self) -> bool {
        self.envoy.is_empty() && self.weft.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(- Envoy, + weft)\n{}", self.whole)
    }
}

enum Line<'a> {
    Both(&'a String),
    Left(&'a String),
    Right(&'a String),
}

/// A longest common subsequence, and what is beside it.
fn diff<'a>(left: &'a [String], right: &'a [String]) -> Vec<Line<'a>> {
    let mut length = vec![vec![0u32; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            length[i][j] = match left[i] == right[j] {
                true => length[i + 1][j + 1] + 1,
                false => length[i + 1][j].max(length[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            lines.push(Line::Both(&left[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == right.len() || (i < left.len() && length[i + 1][j] >= length[i][j + 1]) {
            lines.push(Line::Left(&left[i]));
            i += 1;
        } else {
            lines.push(Line::Right(&right[j]));
            j += 1;
        }
    }
    lines
}

/// The lines of a head: the first as it is, the fields by name, each mark before it.
pub fn head_lines(mark: &str, first: &str, mut fields: Vec<(String, String)>) -> Vec<String> {
    fields.sort_by_key(|field| field.0.to_ascii_lowercase());
    let mut lines = vec![format!("{mark} {first}")];
    lines.extend(fields.iter().map(|(name, value)| format!("{mark} {name}: {}", steady(name, value))));
    lines
}

/// A body, a line for each of its lines; a long one by its length.
pub fn body_lines(mark: &str, body: &[u8]) -> Vec<String> {
    if body.is_empty() {
        return Vec::new();
    }
    if body.len() > 2000 {
        let sum = body.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        return vec![format!("{mark} | {} bytes, sum {sum:x}", body.len())];
    }
    let text = body.escape_ascii().to_string().replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'");
    let line = |line: &str| match line.trim_end_matches("\\r").split_once(": ") {
        // A head that was read as bytes.
        Some((name @ "date", value)) => format!("{name}: {}", steady(name, value)),
        _ => line.to_owned(),
    };
    text.lines().map(|text| format!("{mark} | {}", line(text))).collect()
}

/// A value, or what it looks like if it is another each time.
fn steady(name: &str, value: &str) -> String {
    let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match name.to_ascii_lowercase().as_str() {
        "date" if value.ends_with("GMT") => "(date)".to_owned(),
        "x-request-id" if is_uuid(value) => "(uuid)".to_owned(),
        "x-envoy-upstream-service-time" if number => "(ms)".to_owned(),
        // What a try has left; a few milliseconds less on a busy machine.
        "x-envoy-expected-rq-timeout-ms" if number => match value.parse::<u64>() {
            Ok(left) => left.next_multiple_of(100).to_string(),
            Err(_) => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

fn is_uuid(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Ports by their names, so that two runs show the same.
pub fn rename_ports(lines: &mut [String], ports: &BTreeMap<u16, String>) {
    for line in lines {
        for (port, name) in ports {
            let port = port.to_string();
            let mut at = 0;
            while let Some(found) = line[at..].find(&port).map(|found| at + found) {
                let end = found + port.len();
                let digit = |at: usize| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
                at = end;
                if !(digit(end) || found > 0 && digit(found - 1)) {
                    line.replace_range(found..end, &format!("({name})"));
                    at = found + name.len() + 2;
                }
            }
        }
    }
}
