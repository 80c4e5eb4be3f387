//! What an unquoted word of YAML is: null, boolean, number or text (YAML 1.2 core schema, with Go's `010` = 8).

use serde_json::Number;

use super::Value;

/// Types a plain scalar.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if let Some(magnitude) = integer(digits) {
        return if negative { 0i64.checked_sub_unsigned(magnitude).map(Number::from) } else { Some(magnitude.into()) };
    }
    let looks_like_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    looks_like_float.then(|| text.parse().ok().and_then(Number::from_f64)).flatten()
}

fn integer(digits: &str) -> Option<u64> {
    let all = |radix| !digits.is_empty() && digits.chars().all(|c: char| c.is_digit(radix));
    if let Some(hex) = digits.strip_prefix("0x") {
        return unsigned(hex, 16);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return unsigned(octal, 8);
    }
    match digits.strip_prefix('0') {
        Some(octal) if all(8) && !octal.is_empty() => unsigned(octal, 8),
        _ if all(10) => digits.parse().ok(),
        _ => None,
    }
}

fn unsigned(digits: &str, radix: u32) -> Option<u64> {
    (!digits.starts_with(['+', '-'])).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_have_the_type_that_go_gives_them() {
        for (text, json) in [
            ("80", "80"),
            ("-3", "-3"),
            ("010", "8"),
            ("0x10", "16"),
            ("1.5", "1.5"),
            ("1e3", "1000.0"),
            ("true", "true"),
            ("~", "null"),
            ("v1", "\"v1\""),
            ("1.2.3", "\"1.2.3\""),
            ("10s", "\"10s\""),
            ("-", "\"-\""),
            ("yes", "\"yes\""),
            (".nan", "\".nan\""),
            ("e", "\"e\""),
            ("99999999999999999999", "1e20"),
        ] {
            let node = super::super::Node { value: plain(text), at: Default::default() };
            let expected: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(node.to_json(), expected, "{text}");
        }
    }
}
