//! What tells who somebody is: certificates, tokens, and the first bytes of a caller of the workload API.

use api::prost_types::value::Kind;
use api::prost_types::{Struct, Value};
use api::{TrustDomain, X509Svid};
use rustls::pki_types::CertificateDer;

use crate::config::SanKind;
use crate::identity::token::JoinToken;
use crate::tls::names::subject_alt_names;
use crate::workload_api::authority::Mender;
use crate::workload_api::jwt::validate;

/// A certificate that is taken for an SVID names one URI, which is its ID as it is written, and is none with a byte behind
/// it.
pub fn certificate(data: &[u8]) {
    let Ok(svid) = X509Svid::parse(data) else { return };
    assert_eq!(svid.id.to_string().parse().as_ref(), Ok(&svid.id));
    // By the reader that judges certificates of others.
    let names = subject_alt_names(&CertificateDer::from(data));
    let uris: Vec<&String> = names.iter().filter(|(kind, _)| *kind == SanKind::Uri).map(|(_, uri)| uri).collect();
    assert_eq!(uris, [&svid.id.to_string()]);
    assert!(svid.serial.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(X509Svid::parse(&[data, &[0]].concat()).is_err());
}

/// A token, a line end, and a set of keys: what is believed is of the trust domain whose keys they are, for no audience but
/// those that it names, by no other keys, and not once it is over.
pub fn jwt_svid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (token, keys) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(ours) = TrustDomain::new("cluster.local") else { return };
    for now in [0, 1_700_000_000, u64::MAX] {
        let Ok(validated) = validate(token, "ratings", &ours, keys, now) else { continue };
        assert_eq!(validated.id.trust_domain(), &ours);
        assert!(is_for(&validated.claims, "ratings"));
        assert_eq!(validate(token, "another", &ours, keys, now).is_ok(), is_for(&validated.claims, "another"));
        assert!(validate(token, "ratings", &ours, "{}", now).is_err());
        let Some(Kind::NumberValue(expires)) = validated.claims.fields.get("exp").and_then(|exp| exp.kind.clone())
        else {
            panic!("no time of its end");
        };
        // Beyond that a float counts in more than seconds.
        if expires < 1e15 {
            assert!(validate(token, "ratings", &ours, keys, expires.max(0.0) as u64 + 2 * 60).is_err());
        }
    }
}

fn is_for(claims: &Struct, audience: &str) -> bool {
    let is_it = |value: &Value| matches!(&value.kind, Some(Kind::StringValue(text)) if text == audience);
    match claims.fields.get("aud") {
        Some(Value { kind: Some(Kind::ListValue(list)) }) => list.values.iter().any(is_it),
        one => one.is_some_and(is_it),
    }
}

/// A join token that is read shows nothing of its secret.
pub fn join_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(token) = JoinToken::parse(text) else { return };
    let text = token.text();
    let pin = text.rsplit('_').next().unwrap_or_default().to_ascii_lowercase();
    assert_eq!(format!("{token:?}"), format!("JoinToken(pins {pin})"));
}

/// However bytes arrive, as many are handed on, and the same.
pub fn workload_api(data: &[u8]) {
    let through = |step: usize| {
        let (mut mender, mut out) = (Mender::default(), Vec::new());
        data.chunks(step.max(1)).for_each(|chunk| mender.take(chunk, &mut out));
        out
    };
    let whole = through(data.len());
    assert!(whole.len() <= data.len());
    for step in [1, 9, usize::from(data.first().copied().unwrap_or(1))] {
        assert_eq!(through(step), whole);
    }
    let changed = whole.iter().zip(data).filter(|(now, before)| now != before);
    assert!(changed.into_iter().all(|(now, _)| *now == b'_'));
}
