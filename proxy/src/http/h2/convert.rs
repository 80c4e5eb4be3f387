//! Between the header maps of the `http` crate and our own lists.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::h1;
use crate::http::headers::{Headers, may_trail};

/// Headers for the wire, without those that HTTP/2 forbids (RFC 9113 section 8.2.2).
pub fn header_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        if h1::is_connection_header(name) && name != b"te" {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// Our own list of what came over the wire.
pub fn headers(map: &HeaderMap) -> Headers {
    list(map, |value| value)
}

/// The same of a request. Blanks around a value have no place in HTTP/2 (RFC 9113 section 8.2.1), and whoever gets the
/// request over HTTP/1.1 takes them away: what judges it must not see another value.
pub fn request_headers(map: &HeaderMap) -> Headers {
    list(map, <[u8]>::trim_ascii)
}

fn list(map: &HeaderMap, value_of: impl Fn(&[u8]) -> &[u8]) -> Headers {
    let bytes = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let mut headers = Headers::with_capacity(bytes + 256);
    for (name, value) in map {
        let _ = headers.try_append(name.as_str().as_bytes(), value_of(value.as_bytes()));
    }
    headers
}

/// Trailers that came over the wire, without what has no place there.
pub fn trailers(map: &HeaderMap) -> Headers {
    let mut trailers = headers(map);
    trailers.retain(|name, _| may_trail(name));
    trailers
}
