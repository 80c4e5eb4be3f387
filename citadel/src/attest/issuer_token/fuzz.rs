//! What the fuzzer calls of tokens and sets of keys.

use std::collections::BTreeMap;

use api::Document;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::keys::Jwks;
use super::rules::{IdentityRule, IssuerConfig, Values};
use super::token::Token;
use super::{SKEW, judge};

/// A token, a line end, and a set of keys; and both parts as the claims of a token. What is verified is not once a byte
/// of it is another; who is granted an identity has a token that is for us and not over; and what is taken of JSON is
/// what any reader takes.
///
/// # Panics
/// If that does not hold.
pub fn issuer_token(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (first, rest) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    for text in [first, rest] {
        if let Ok(Document(value)) = serde_json::from_slice(text) {
            assert_eq!(serde_json::from_slice::<Value>(text).ok(), Some(value));
        }
        let claims = format!("eyJhbGciOiJFUzI1NiJ9.{}.AA", URL_SAFE_NO_PAD.encode(text));
        Token::parse(&claims).iter().for_each(grant);
    }
    let Ok(text) = std::str::from_utf8(first) else { return };
    let Some(token) = Token::parse(text) else { return };
    grant(&token);
    let Some(keys) = Jwks::parse(rest).ok().filter(|keys| keys.verify(&token).is_ok()) else { return };
    for section in 0..3 {
        let changed = change(text, section).and_then(|text| Token::parse(&text));
        let verified = changed.is_some_and(|changed| keys.verify(&changed).is_ok());
        assert!(!verified, "section {section} of {text} was changed");
    }
}

/// Judges a token as if it were verified, at its beginning and its end.
fn grant(token: &Token) {
    let one = |claim: &str, value: &str| BTreeMap::from([(claim.to_owned(), Values::One(value.to_owned()))]);
    let rule = |claims| IdentityRule { namespace: "ci".to_owned(), service_account: "any".to_owned(), claims };
    let issuer = IssuerConfig {
        issuer: token.issuer().unwrap_or_default().to_owned(),
        audiences: vec!["one".to_owned(), "weft".to_owned()],
        jwks_uri: None,
        ca_file: None,
        jwks_file: None,
        identities: vec![rule(one("sub", "m*")), rule(one("roles[a]", "*e"))],
    };
    let end = token.claims.get("exp").and_then(Value::as_f64);
    for now in [0, end.unwrap_or_default() as u64, u64::MAX] {
        if judge(&issuer, token, now).is_ok() {
            assert!(end.is_some_and(|end| (end as u64).saturating_add(SKEW.as_secs()) > now), "{end:?} at {now}");
            assert!(token.texts("aud").iter().any(|audience| issuer.audiences.contains(audience)));
        }
    }
}

/// The token with another first character in one of its sections; `None` where it is of no such form.
fn change(text: &str, section: usize) -> Option<String> {
    let mut sections: Vec<String> = text.split('.').map(str::to_owned).collect();
    let one = sections.get_mut(section)?;
    let other = if one.starts_with('A') { "B" } else { "A" };
    one.replace_range(..one.chars().next()?.len_utf8(), other);
    Some(sections.join("."))
}
