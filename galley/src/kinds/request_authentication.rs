//! RequestAuthentication: whose tokens a workload takes, and where they stand (Istio `request_authentication.proto`).

use std::net::IpAddr;
use std::time::Duration;

use super::check;
use super::shared::Labels;
use crate::diagnostic::code;
use crate::reader::{Object, Place};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestAuthentication {
    /// `None`: every workload of the namespace (of the mesh, in the root namespace).
    pub selector: Option<Labels>,
    pub rules: Vec<JwtRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JwtRule {
    pub issuer: String,
    /// One of them must be the token's; empty: any.
    pub audiences: Vec<String>,
    pub keys: JwtKeys,
    /// Where tokens stand. All three empty: `Authorization: Bearer` and the parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    /// Gets the payload in base64url; may be empty.
    pub payload_header: String,
    pub claim_headers: Vec<ClaimHeader>,
    /// Whether the token goes on to the application.
    pub forward: bool,
    /// Of fetching the keys.
    pub timeout: Option<Duration>,
    /// Claims whose text is a list of words, besides `scope` and `permission`.
    pub space_delimited_claims: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// A JSON Web Key Set.
    Inline(String),
    Fetched(KeysUri),
}

/// Where a key set is fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUri {
    pub uri: String,
    pub tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtHeader {
    pub name: String,
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    pub header: String,
    pub claim: String,
}

/// Reads and checks the spec.
pub(crate) fn read(o: &Object<'_>) -> RequestAuthentication {
    const MOST: usize = 4096;
    check::no_target_refs(o);
    let selector = o.read("selector", |place| check::selector(place, "matchLabels", 4096));
    let rules = o.each("jwtRules", rule);
    if rules.len() > MOST {
        o.error_at("jwtRules", format!("at most {MOST} rules, not {}", rules.len()));
    }
    RequestAuthentication { selector, rules }
}

fn rule(place: &Place<'_>) -> Option<JwtRule> {
    place.object(|o| {
        o.at_most_one(&["jwks", "jwksUri"]);
        o.at_least_one(&["jwks", "jwksUri"]);
        let fetched = o.read("jwksUri", keys_uri).map(JwtKeys::Fetched);
        let inline = o.read("jwks", key_set).map(JwtKeys::Inline);
        let rule = JwtRule {
            issuer: o.required_text("issuer"),
            audiences: o.each("audiences", text),
            keys: JwtKeys::Inline(String::new()),
            from_headers: o.each("fromHeaders", |place| {
                place.object(|o| JwtHeader {
                    name: o.required("name").and_then(|place| header(&place)).unwrap_or_default(),
                    prefix: o.text("prefix"),
                })
            }),
            from_params: o.each("fromParams", text),
            from_cookies: o.each("fromCookies", text),
            payload_header: o.read("outputPayloadToHeader", header).unwrap_or_default(),
            claim_headers: o.each("outputClaimToHeaders", |place| {
                place.object(|o| ClaimHeader {
                    header: o.required("header").and_then(|place| header(&place)).unwrap_or_default(),
                    claim: o.required_text("claim"),
                })
            }),
            forward: o.flag("forwardOriginalToken"),
            timeout: o.duration("timeout"),
            space_delimited_claims: o.each("spaceDelimitedClaims", text),
        };
        Some(JwtRule { keys: inline.or(fetched)?, ..rule })
    })?
}

fn text(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if text.is_empty() {
        place.error("must not be empty");
    }
    Some(text)
}

/// The name of a header (RFC 9110 section 5.1).
fn header(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if !check::is_token(&text) {
        place.error(format!("{text:?} is not the name of a header"));
    }
    Some(text)
}

/// A key set; what does not verify anything is an error, what should be kept secret a warning.
fn key_set(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
    let keys = parsed.as_ref().ok().and_then(|set| set.get("keys")?.as_array());
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
        place.error("is no JSON Web Key Set: an object with a list \"keys\" that is not empty");
        return None;
    };
    if keys.iter().any(|key| key.get("d").is_some()) {
        place.warn(code::SCHEMA_WARNING, "holds a private key: whoever reads this object can sign; leave \"d\" out");
    }
    if keys.iter().any(|key| key["kty"] == "oct") {
        let words = "holds a symmetric key: whoever reads this object, or a proxy's configuration, can make tokens; have the \
                     issuer sign with RSA or an elliptic curve";
        place.warn(code::SCHEMA_WARNING, words);
    }
    Some(text)
}

fn keys_uri(place: &Place<'_>) -> Option<KeysUri> {
    const LONGEST: usize = 2048;
    let uri = place.text()?;
    if uri.len() > LONGEST {
        place.error(format!("at most {LONGEST} characters, not {}", uri.len()));
    }
    let parsed = split(&uri);
    if parsed.is_none() {
        place.error(format!("{uri:?} is no URI such as https://host:port/path"));
    }
    let host = parsed.as_ref().map_or("", |uri| uri.host.as_str());
    if is_odd_address(host) {
        place.error(format!("{host:?} is another spelling of an address; write it as four numbers, or name the host"));
    } else if host.parse::<IpAddr>().is_ok_and(runtime::tells_secrets) {
        place.error("is a link-local address, where clouds tell machines their secrets; name the issuer's host");
    }
    parsed
}

/// Resolvers take 2852039166, 0xa9fea9fe and 169.254.43518 for addresses (inet_aton), but they do not look like one. A
/// name's last label is never a number (RFC 1123 §2.1).
fn is_odd_address(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let digits =
        last.strip_prefix("0x").map_or(!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()), |hex| {
            hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
    digits && !check::is_address(host)
}

fn split(uri: &str) -> Option<KeysUri> {
    let (tls, rest) = match (uri.strip_prefix("https://"), uri.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, rest) => (false, rest?),
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains('@') || uri.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(bracketed) => bracketed.map(|(host, port)| (host, port.strip_prefix(':')))?,
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => {
            if tls {
                443
            } else {
                80
            }
        }
    };
    let named = check::host_is_plain(&host.to_ascii_lowercase()) || check::is_address(host);
    named.then(|| KeysUri { uri: uri.to_owned(), tls, host: host.to_owned(), port })
}
