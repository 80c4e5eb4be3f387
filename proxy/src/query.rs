//! Query strings: parameters read, set and removed. What is not touched stays as it came, byte for byte.

use std::borrow::Cow;

/// The first value of a parameter, percent-decoded; empty for one without `=`.
pub fn get<'a>(path: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(path).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

/// Takes a parameter out of a path, every time it is there.
pub fn remove(path: &mut String, name: &str) {
    let Some((before, _)) = path.split_once('?') else { return };
    let kept: Vec<&str> =
        pairs(path).filter(|pair| decode(pair.split('=').next().unwrap_or_default()) != name).collect();
    let query = kept.join("&");
    *path = if query.is_empty() { before.to_owned() } else { format!("{before}?{query}") };
}

/// Gives a parameter one value, as it stands, in place of those it had.
pub fn set(path: &mut String, name: &str, value: &str) {
    remove(path, name);
    add(path, name, value);
}

/// Gives a parameter one more value, as it stands.
pub fn add(path: &mut String, name: &str, value: &str) {
    let separator = if path.contains('?') { '&' } else { '?' };
    path.push(separator);
    path.push_str(name);
    path.push('=');
    path.push_str(value);
}

/// A text as the value of a parameter: what would end it, or the path, is percent-encoded.
pub fn encode(text: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/?=".contains(byte);
    text.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn pairs(path: &str) -> impl Iterator<Item = &str> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query.split('#').next().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
}

/// Undoes percent-encoding; what does not decode to text is left as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(hex) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(digits[0])? * 16 + digit(digits[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_decoded_and_the_first_counts() {
        assert_eq!(get("/p?a=1&b=%32%2B&a=3", "a").as_deref(), Some("1"));
        assert_eq!(get("/p?a=1&b=%32%2B&a=3", "b").as_deref(), Some("2+"));
        assert_eq!(get("/p?%61=1", "a").as_deref(), Some("1"));
        assert_eq!(get("/p?flag", "flag").as_deref(), Some(""));
        for (path, name) in [("/p", "a"), ("/p?", ""), ("/p?ab=1", "a"), ("/p?x=a=1", "a")] {
            assert_eq!(get(path, name), None, "{path}");
        }
    }

    #[test]
    fn percent_signs_that_encode_nothing_stay() {
        for value in ["%", "%4", "%zz", "100%", "%ff", "%é"] {
            assert_eq!(get(&format!("/?v={value}"), "v").as_deref(), Some(value));
        }
    }

    #[test]
    fn removal_leaves_the_others_as_they_came() {
        for (before, after) in
            [("/p?a=1&b=%32&a=3&c", "/p?b=%32&c"), ("/p?%61=1", "/p"), ("/p", "/p"), ("/p?b=a", "/p?b=a")]
        {
            let mut path = before.to_owned();
            remove(&mut path, "a");
            assert_eq!(path, after);
        }
    }

    #[test]
    fn setting_replaces_or_adds() {
        for (before, after) in [("/p?a=1&b=2", "/p?b=2&a=x"), ("/p", "/p?a=x"), ("/p?a", "/p?a=x")] {
            let mut path = before.to_owned();
            set(&mut path, "a", "x");
            assert_eq!(path, after);
        }
    }
}
