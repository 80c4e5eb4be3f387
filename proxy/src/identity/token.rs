//! Join tokens as the workload sees them: a secret to show, and the root certificate to expect. A platform's token is a
//! file that the platform replaces now and then, with the root in a file beside it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::svid::fingerprint;
use super::{IdentityError, Svid};

const SCHEME: &str = "weft_join_";

/// SHA-256 of certificates.
pub type Pins = Arc<[[u8; 32]]>;

/// A join token.
#[derive(Clone)]
pub struct JoinToken {
    text: Zeroizing<String>,
    /// SHA-256 of each root certificate that the control plane may have.
    pub pins: Pins,
    /// Where it is read again each time.
    file: Option<PathBuf>,
}

/// The token of a platform, such as one of a Kubernetes service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    pub token: PathBuf,
    /// The root certificates of the mesh, in PEM.
    pub roots: PathBuf,
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
        Ok(Self { text: Zeroizing::new(text.to_owned()), pins: [bytes].into(), file: None })
    }

    /// A platform's token, as it is now.
    pub fn of_file(files: &TokenFile) -> Result<Self, IdentityError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|cause| IdentityError::File { path: path.to_owned(), cause })
        };
        let roots = read(&files.roots)?;
        let pins: Result<Pins, _> =
            CertificateDer::pem_slice_iter(roots.as_bytes()).map(|root| root.map(|root| fingerprint(&root))).collect();
        let unreadable = |why: String| {
            let cause = std::io::Error::other(format!("it holds no certificate in PEM{why}"));
            IdentityError::File { path: files.roots.clone(), cause }
        };
        let pins = pins.map_err(|error| unreadable(format!(": {error}")))?;
        if pins.is_empty() {
            return Err(unreadable(String::new()));
        }
        let text = Zeroizing::new(read(&files.token)?);
        let text = Zeroizing::new(text.trim().to_owned());
        Ok(Self { text, pins, file: Some(files.token.clone()) })
    }

    /// What to show.
    pub fn text(&self) -> Zeroizing<String> {
        let fresh = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok()).map(Zeroizing::new);
        fresh.map_or_else(|| self.text.clone(), |fresh| Zeroizing::new(fresh.trim().to_owned()))
    }

    /// Whether it is for another mesh than an identity is of. A platform's token does not say for which one it is.
    pub fn is_foreign_to(&self, svid: &Svid) -> bool {
        self.file.is_none() && !self.pins.iter().any(|pin| svid.trusts(pin))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pins: Vec<String> = self.pins.iter().map(hex::encode).collect();
        write!(f, "JoinToken(pins {})", pins.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_whole_or_not_at_all() {
        let pin = "ab".repeat(32);
        let token = JoinToken::parse(&format!(" weft_join_id_secret_{pin}\n")).unwrap();
        assert_eq!(*token.pins, [[0xab; 32]]);
        assert!(!format!("{token:?}").contains("secret_"), "the secret is shown");
        for bad in ["", "weft_join_", "weft_pat_id_secret", "weft_join_id_secret", "weft_join_id_secret_abcd"] {
            assert!(JoinToken::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(JoinToken::parse(&format!("weft_join_id_secret_{pin}_more")).is_err());
    }
}
