//! Tokens and sets of keys.

use crate::jwt::{Jwks, Token};

/// A token, a line end, and a set of keys: what is verified is so again, and is not once a byte of it is another.
pub fn jwt(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let keys = Jwks::parse(data.get(end + 1..).unwrap_or_default());
    let Ok(text) = std::str::from_utf8(&data[..end]) else { return };
    let Ok(token) = Token::parse(text) else { return };
    assert_eq!(Token::parse(text).as_ref(), Ok(&token));
    // A token that may be used at two moments may be used between them.
    let times = [0, token.not_before, token.expires, u64::MAX].map(|now| token.check_time(now, 60).is_ok());
    assert!(token.not_before > token.expires || token.expires == 0 || (times[1] && times[2]), "{times:?}");
    let Some(keys) = keys.filter(|keys| keys.verify(&token).is_ok()) else { return };
    for section in 0..3 {
        let changed = change(text, section).and_then(|text| Token::parse(&text).ok());
        assert!(
            changed.is_none_or(|changed| keys.verify(&changed).is_err()),
            "section {section} of {text} was changed"
        );
    }
}

/// The token with another first character in one of its sections; `None` where it is of no such form.
fn change(text: &str, section: usize) -> Option<String> {
    let mut sections: Vec<String> = text.split('.').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    let one = sections.get_mut(section)?;
    let other = if one.starts_with('A') { "B" } else { "A" };
    one.replace_range(..one.chars().next()?.len_utf8(), other);
    Some(sections.join("."))
}
