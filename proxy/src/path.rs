//! Paths in one form (RFC 3986 section 6.2.2; Envoy `normalize_path`), so that no two spellings of a path are told
//! apart by a route or a policy here and taken as one by the application. The query is left alone.

fn split(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

/// Decodes escapes of unreserved characters, writes the others in upper case, turns backslashes into slashes, and
/// resolves `.` and `..`. `None`: an escape is malformed, or the path leaves its root.
pub fn normalize(path: &str) -> Option<String> {
    let (path, query) = split(path);
    if !path.contains(['%', '\\']) && !path.contains("/.") {
        return Some(format!("{path}{query}"));
    }
    let decoded = decode_unreserved(path)?;
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()?),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    Some(format!("/{}{query}", kept.join("/")))
}

fn decode_unreserved(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3)?;
                let value = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
                // A hidden NUL ends the path for many a backend.
                if hex[0] == b'+' || value == 0 {
                    return None;
                }
                if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
                    out.push(char::from(value));
                } else {
                    out.push_str(&format!("%{value:02X}"));
                }
                at += 3;
            }
            b'\\' => {
                out.push('/');
                at += 1;
            }
            byte => {
                out.push(char::from(byte));
                at += 1;
            }
        }
    }
    Some(out)
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
            ("/%2e%2E/x?q=%2e", ""),
            ("/a/%2e%2e/b?q=/../", "/b?q=/../"),
            ("/a%2fb", "/a%2Fb"),
            ("/a\\b", "/a/b"),
            ("/..", ""),
            ("/a/%zz", ""),
            ("/a/%4", ""),
            ("/a%00", ""),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("//a", "//a"),
        ];
        for (path, normal) in cases {
            assert_eq!(normalize(path).unwrap_or_default(), normal, "{path}");
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
            if let Some(normal) = normalize(&path) {
                proptest::prop_assert_eq!(normalize(&normal), Some(normal.clone()));
            }
        }
    }
}
