//! A JWT in its compact form (RFC 7515 section 7.1), taken apart and not believed yet.

use api::Document;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longer ones are not looked at. GitHub's have some 2 KiB.
const LONGEST: usize = 16 * 1024;

pub struct Token {
    pub algorithm: String,
    pub key_id: Option<String>,
    pub claims: Map<String, Value>,
    /// What the signature is over.
    pub signed: String,
    pub signature: Vec<u8>,
}

impl Token {
    /// `None` for what is no JWT, and for one in which a name stands twice.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let object = |part: &str| match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
            Document(Value::Object(object)) => Some(object),
            Document(_) => None,
        };
        let (header, claims) = (object(header)?, object(claims)?);
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str()?.to_owned()),
        };
        // RFC 7515 section 4.1.11: whoever does not know what is critical refuses the token.
        if header.contains_key("crit") {
            return None;
        }
        Some(Self {
            algorithm: header.get("alg")?.as_str()?.to_owned(),
            key_id,
            claims,
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// The texts of a claim that is one or a list.
    pub fn texts(&self, claim: &str) -> Vec<String> {
        match self.claims.get(claim) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}
