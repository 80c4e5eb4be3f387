//! The difference of two objects, as `diff -u` shows that of two files.

use serde_json::Value;

/// Lines of what did not change that are shown around what did.
const CONTEXT: usize = 3;
/// Longer texts are shown whole, old and new: the comparison takes the product of their lengths.
const LONGEST: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// A unified diff of both as YAML; empty if they are the same.
pub fn unified(name: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.map(yaml).unwrap_or_default();
    let (old, new) = (text(before), text(after));
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let header = |value: Option<&Value>| if value.is_some() { name } else { "/dev/null" };
    let lines = compare(&old, &new);
    format!("--- {}\n+++ {}\n{}", header(before), header(after), hunks(&lines))
}

/// The shortest script that makes one of the other: the longest common subsequence stays.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut lines: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    if a.len() > LONGEST || b.len() > LONGEST {
        lines.extend(a.iter().map(|line| Line::Old(line)).chain(b.iter().map(|line| Line::New(line))));
    } else {
        lines.extend(script(a, b));
    }
    lines.extend(old[old.len() - tail..].iter().map(|line| Line::Same(line)));
    lines
}

fn script<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Line<'a>> {
    let width = b.len() + 1;
    // How many lines the rests from here have in common.
    let mut common = vec![0u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = match a[i] == b[j] {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(Line::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1] {
            lines.push(Line::Old(a[i]));
            i += 1;
        } else {
            lines.push(Line::New(b[j]));
            j += 1;
        }
    }
    lines
}

fn hunks(lines: &[Line<'_>]) -> String {
    let changed: Vec<usize> = (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    let mut text = String::new();
    let mut rest = &changed[..];
    while let Some(first) = rest.first() {
        // Changes whose surroundings touch are one hunk.
        let apart = rest.windows(2).position(|pair| pair[1] - pair[0] > 2 * CONTEXT + 1);
        let count = apart.map_or(rest.len(), |at| at + 1);
        let (from, to) = (first.saturating_sub(CONTEXT), (rest[count - 1] + CONTEXT + 1).min(lines.len()));
        text += &hunk(lines, from, to);
        rest = &rest[count..];
    }
    text
}

fn hunk(lines: &[Line<'_>], from: usize, to: usize) -> String {
    let count = |lines: &[Line<'_>]| {
        let new = lines.iter().filter(|line| !matches!(line, Line::Old(_))).count();
        let old = lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
        (old, new)
    };
    let (before, here) = (count(&lines[..from]), count(&lines[from..to]));
    // POSIX diff: a range without lines names the line before it.
    let start = |before: usize, here: usize| if here == 0 { before } else { before + 1 };
    let (old, new) = (start(before.0, here.0), start(before.1, here.1));
    let mut text = format!("@@ -{old},{} +{new},{} @@\n", here.0, here.1);
    for line in &lines[from..to] {
        let (mark, words) = match line {
            Line::Same(words) => (' ', words),
            Line::Old(words) => ('-', words),
            Line::New(words) => ('+', words),
        };
        text.push(mark);
        text += words;
        text.push('\n');
    }
    text
}

/// Block style with sorted keys as the parser keeps them; strings that YAML would read as something else are quoted.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                *text += &format!("{indent}{}:", scalar(&Value::String(name.clone())));
                nested(value, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                write(item, depth + 1, &mut inner);
                *text += &format!("{indent}- {}", inner.trim_start());
            }
        }
        other => *text += &format!("{indent}{}\n", scalar(other)),
    }
}

fn nested(value: &Value, depth: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    match is_block {
        true => {
            text.push('\n');
            write(value, depth, text);
        }
        false => *text += &format!(" {}\n", scalar(value)),
    }
}

fn scalar(value: &Value) -> String {
    let Value::String(words) = value else { return value.to_string() };
    let first = words.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = first && words.bytes().all(plain) && !reserved.contains(&words.to_ascii_lowercase().as_str());
    if is_plain { words.clone() } else { value.to_string() }
}
