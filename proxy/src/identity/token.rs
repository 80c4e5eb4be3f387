//! Join tokens as the workload sees them: a secret to show, and the root certificate to expect.

use std::fmt;

use zeroize::Zeroizing;

use super::IdentityError;

const SCHEME: &str = "weft_join_";

/// A join token.
#[derive(Clone)]
pub struct JoinToken {
    pub text: Zeroizing<String>,
    /// SHA-256 of the root certificate.
    pub pin: [u8; 32],
}

impl JoinToken {
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        let parts: Vec<&str> = text.strip_prefix(SCHEME).ok_or(IdentityError::Token)?.split('_').collect();
        let [id, secret, pin] = parts[..] else { return Err(IdentityError::Token) };
        let mut bytes = [0; 32];
        if id.is_empty() || secret.is_empty() || hex::decode_to_slice(pin, &mut bytes).is_err() {
            return Err(IdentityError::Token);
        }
        Ok(Self { text: Zeroizing::new(text.to_owned()), pin: bytes })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken(pin {})", hex::encode(self.pin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_whole_or_not_at_all() {
        let pin = "ab".repeat(32);
        let token = JoinToken::parse(&format!(" weft_join_id_secret_{pin}\n")).unwrap();
        assert_eq!(token.pin, [0xab; 32]);
        assert!(!format!("{token:?}").contains("secret_"), "the secret is shown");
        for bad in ["", "weft_join_", "weft_pat_id_secret", "weft_join_id_secret", "weft_join_id_secret_abcd"] {
            assert!(JoinToken::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(JoinToken::parse(&format!("weft_join_id_secret_{pin}_more")).is_err());
    }
}
