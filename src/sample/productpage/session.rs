//! Who is signed in: a cookie that holds the name, percent-encoded, and becomes the `end-user` header.

use crate::sample::forward;
use axum::http::{HeaderMap, HeaderValue, header};

const COOKIE: &str = "bookinfo-user";

/// The cookie that ends a session.
pub const CLOSE: &str = "bookinfo-user=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0";

/// The cookie that signs `user` in; an empty name signs out.
pub fn open(user: &str) -> String {
    if user.is_empty() {
        return CLOSE.to_owned();
    }
    let user: String = user.chars().take(64).collect();
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax", encode(&user))
}

/// The name in the request's cookie.
pub fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    decode(value).filter(|user| !user.is_empty())
}

/// The headers of the calls made for this request: those passed on, and the signed-in user as `end-user`.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = forward::propagated(headers);
    if let Some(user) = user(headers).and_then(|user| HeaderValue::from_str(&user).ok()) {
        passed.insert("end-user", user);
    }
    passed
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? * 16 + hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(value).unwrap())])
    }

    fn sent_back(set_cookie: &str) -> HeaderMap {
        with_cookie(&format!("other=1; {}", set_cookie.split(';').next().unwrap()))
    }

    #[test]
    fn any_name_survives_the_trip_through_the_cookie() {
        for name in ["jason", "jo=hn; x", "Zoë 100%", "<b>\r\n"] {
            assert_eq!(user(&sent_back(&open(name))).as_deref(), Some(name));
        }
    }

    #[test]
    fn the_signed_in_user_becomes_the_end_user() {
        let mut headers = with_cookie("bookinfo-user=jason");
        headers.insert("end-user", HeaderValue::from_static("someone"));
        assert_eq!(passed_on(&headers).get("end-user").unwrap(), "jason");
    }

    #[test]
    fn a_broken_or_closed_cookie_is_nobody() {
        for cookie in ["bookinfo-user=%4", "bookinfo-user=%zz", "bookinfo-user=%ff", "bookinfo-user=", "x"] {
            assert_eq!(user(&with_cookie(cookie)), None, "{cookie}");
        }
        assert_eq!(user(&sent_back(CLOSE)), None);
        assert_eq!(open(""), CLOSE);
    }

    #[test]
    fn a_name_that_no_header_can_carry_is_not_sent() {
        assert_eq!(passed_on(&sent_back(&open("a\nb"))).get("end-user"), None);
    }
}
