//! `jwt-keys.pem` in the authority's directory: each private key below a line that says when it was made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::files::{PRIVATE, create_private_dir, write_atomic};
use zeroize::Zeroizing;

use super::key::SigningKey;
use crate::OpenError;

const NAME: &str = "jwt-keys.pem";
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
const CREATED: &str = "created ";

pub struct Files(PathBuf);

impl Files {
    pub fn new(directory: &Path) -> Self {
        Self(directory.join(NAME))
    }

    pub fn load(&self) -> Result<Vec<SigningKey>, OpenError> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(OpenError::File { path: self.0.clone(), cause }),
        };
        parse(&text).map_err(|cause| self.damaged(cause))
    }

    pub fn store(&self, keys: &[Arc<SigningKey>]) -> Result<(), OpenError> {
        let mut text = Zeroizing::new(String::new());
        for key in keys {
            let private = key.private().map_err(|_| self.damaged("a key cannot be written down"))?;
            let encoded = Zeroizing::new(STANDARD.encode(&*private));
            text.push_str(&format!("{CREATED}{}\n{BEGIN}\n", key.created()));
            for line in encoded.as_bytes().chunks(64) {
                text.extend(line.iter().map(|byte| char::from(*byte)));
                text.push('\n');
            }
            text.push_str(END);
            text.push('\n');
        }
        let file = |cause| OpenError::File { path: self.0.clone(), cause };
        create_private_dir(self.0.parent().unwrap_or(Path::new("."))).map_err(file)?;
        write_atomic(&self.0, text.as_bytes(), PRIVATE).map_err(file)
    }

    fn damaged(&self, cause: &str) -> OpenError {
        OpenError::Content { path: self.0.clone(), cause: cause.to_owned() }
    }
}

fn parse(text: &str) -> Result<Vec<SigningKey>, &'static str> {
    let mut keys = Vec::new();
    for part in text.split(END).filter(|part| !part.trim().is_empty()) {
        let (head, body) = part.split_once(BEGIN).ok_or("a key without its beginning")?;
        let created = head.trim().strip_prefix(CREATED).and_then(|number| number.parse().ok());
        let created = created.ok_or("it is not said when a key was made")?;
        let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| "a key is not in base64")?);
        keys.push(SigningKey::parse(&der, created).map_err(|_| "a key is no P-256 key in PKCS#8")?);
    }
    Ok(keys)
}
