//! What tells who somebody is: certificates, tokens, and the first bytes of a caller of the workload API.

use api::{TrustDomain, X509Svid};

use crate::identity::token::JoinToken;
use crate::workload_api::authority::Mender;
use crate::workload_api::jwt::validate;

/// A certificate that is taken for an SVID is so again, names an ID that reads back, and is none with a byte behind it.
pub fn certificate(data: &[u8]) {
    let Ok(svid) = X509Svid::parse(data) else { return };
    assert_eq!(X509Svid::parse(data).as_ref(), Ok(&svid));
    assert_eq!(svid.id.to_string().parse().as_ref(), Ok(&svid.id));
    assert!(svid.serial.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(X509Svid::parse(&[data, &[0]].concat()).is_err());
}

/// A token, a line end, and a set of keys: what is believed is of the trust domain whose keys they are, for the audience
/// that asked, and at no later time once it is over.
pub fn jwt_svid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (token, keys) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(ours) = TrustDomain::new("cluster.local") else { return };
    for now in [0, 1_700_000_000, u64::MAX] {
        let Ok(validated) = validate(token, "ratings", &ours, keys, now) else { continue };
        assert_eq!(validated.id.trust_domain(), &ours);
        assert!(validated.claims.fields.contains_key("exp"));
        assert!(validate(token, "another", &ours, keys, now).is_err() || text.len() > 64);
        assert!(validate(token, "ratings", &ours, "{}", now).is_err());
    }
}

/// A join token that is read shows nothing of its secret.
pub fn join_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(token) = JoinToken::parse(text) else { return };
    let text = token.text();
    let secret = text.split('_').nth(3).unwrap_or_default();
    assert!(secret.len() < 8 || !format!("{token:?}").contains(secret));
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
