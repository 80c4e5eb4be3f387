//! Paths in one form (RFC 3986 section 6.2.2; Envoy `normalize_path`), so that no two spellings of a path are told
//! apart by a route or a policy here and taken as one by the application. The query is left alone.

use std::borrow::Cow;

fn split(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

/// Decodes escapes of unreserved characters, escapes what no URI may hold, turns backslashes into slashes, and resolves
/// `.` and `..`, also with parameters, without leaving the root. Escapes that are malformed stay, unless what is decoded
/// behind them would make a new one. This is what Envoy makes of a path. `None`: the path hides a NUL.
pub fn normalize(whole: &str) -> Option<Cow<'_, str>> {
    let (path, query) = split(whole);
    if is_normal(path) {
        return Some(Cow::Borrowed(whole));
    }
    if path.contains("%00") {
        return None;
    }
    let decoded = decode_unreserved(path);
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment.split(';').next().unwrap_or_default() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    Some(Cow::Owned(format!("/{}{query}", kept.join("/"))))
}

/// Whether a path is in its form already, as most are.
fn is_normal(path: &str) -> bool {
    let mut before = 0;
    // Without branches: what is looked for is hardly ever there.
    let odd = path.bytes().fold(false, |odd, byte| {
        let hidden = (before == b'/') & (byte == b'.');
        before = byte;
        odd | hidden | ODD[usize::from(byte)]
    });
    !odd
}

static ODD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'%' | b'\\') || is_foreign(byte as u8);
        byte += 1;
    }
    table
};

/// Whether a byte has no place in a path (RFC 3986 section 3.3).
const fn is_foreign(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}') || !byte.is_ascii_graphic()
}

fn decode_unreserved(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    // Where the last percent sign that begins no escape stands in `out`.
    let mut stray = None;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => match escaped(&bytes[at + 1..]) {
                Some(value) if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') => {
                    out.push(char::from(value));
                    at += 2;
                }
                told => {
                    stray = told.is_none().then_some(out.len());
                    out.push('%');
                }
            },
            b'\\' => out.push('/'),
            byte if is_foreign(byte) => out.push_str(&format!("%{byte:02X}")),
            byte => out.push(char::from(byte)),
        }
        at += 1;
        // `/%6%31dmin` must not become `/%61dmin`, which is `/admin` to whoever decodes it next.
        if let Some(sign) = stray.filter(|sign| out.len() == sign + 3 && escaped(&out.as_bytes()[sign + 1..]).is_some())
        {
            out.insert_str(sign + 1, "25");
        }
    }
    out
}

/// The value of two hexadecimal digits.
fn escaped(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Makes one slash of several.
pub fn merge_slashes(path: &str) -> String {
    let (path, query) = split(path);
    let mut out = String::with_capacity(path.len() + query.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out + query
}

/// Whether the path hides a slash or backslash in an escape.
pub fn has_escaped_slash(path: &str) -> bool {
    let (path, _) = split(path);
    path.as_bytes().windows(3).any(|escape| escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c"))
}

/// Brings hidden slashes and backslashes to light.
pub fn unescape_slashes(path: &str) -> String {
    let (path, query) = split(path);
    let path = path.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\");
    path + query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_become_one() {
        let cases = [
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61dmin", "/admin"),
            ("/%2e%2E/x?q=%2e", "/x?q=%2e"),
            ("/a/%2e%2e/b?q=/../", "/b?q=/../"),
            ("/a%2fb", "/a%2fb"),
            ("/a\\b", "/a/b"),
            ("/..", "/"),
            ("/a/%zz", "/a/%zz"),
            ("/a/%4", "/a/%4"),
            ("/%4%zz", "/%4%zz"),
            ("/a%00b", ""),
            ("/a/..;x/b", "/b"),
            ("/{a}|b", "/%7Ba%7D%7Cb"),
            ("/a%00", ""),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("//a", "//a"),
        ];
        for (path, normal) in cases {
            assert_eq!(normalize(path).unwrap_or_default(), normal, "{path}");
        }
    }

    /// As Envoy 1.40 does.
    #[test]
    fn no_escape_comes_to_light_by_decoding_another() {
        for (path, normal) in [
            ("/%6%31dmin", "/%2561dmin"),
            ("/%%361dmin", "/%2561dmin"),
            ("/%%36%31dmin", "/%2561dmin"),
            ("/%%%36%31", "/%%2561"),
            ("/%%32fx", "/%252fx"),
            ("/%0%30", "/%2500"),
            ("/%2%65%2e/x", "/%252e./x"),
            ("/%5%61d", "/%255ad"),
        ] {
            assert_eq!(normalize(path).unwrap(), normal, "{path}");
        }
    }

    #[test]
    fn slashes_merge_and_hidden_ones_are_found_but_the_query_is_left_alone() {
        assert_eq!(merge_slashes("//a///b?c=//d"), "/a/b?c=//d");
        assert!(has_escaped_slash("/a%2Fb") && has_escaped_slash("/a%5cb") && !has_escaped_slash("/a?b=%2f"));
        assert_eq!(unescape_slashes("/a%2Fb%5Cc?d=%2f"), "/a/b\\c?d=%2f");
    }

    proptest::proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(path in "/[a-z./%0-9A-F]{0,30}") {
            let Some(normal) = normalize(&path).map(Cow::into_owned) else { return Ok(()) };
            proptest::prop_assert_eq!(normalize(&normal), Some(Cow::Borrowed(&*normal)));
        }
    }
}
