//! Why there is no identity, told to the operator of the workload.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::tls::Failure;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path} cannot be read or written: {cause}")]
    File { path: PathBuf, cause: io::Error },
    #[error("{0:?} is no address of a control plane; give host:port, such as 127.0.0.1:15012")]
    Address(String),
    #[error(
        "this is no join token; it should look like weft_join_<id>_<secret>_<64 hexadecimal digits>, as `weft token create` prints it"
    )]
    Token,
    #[error("there is no identity to start with ({reason}); give a join token made by `weft token create`")]
    NoToken { reason: String },
    #[error("the control plane at {address} cannot be reached: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("what answers at {address} is not this mesh's control plane: {cause}")]
    Untrusted { address: String, cause: Failure },
    #[error("the control plane refuses to sign: {0}")]
    Refused(String),
    #[error("the control plane cannot sign now: {0}")]
    Busy(String),
    #[error("{message}")]
    TooMuch { message: String, after: Duration },
    #[error("the control plane's answer is of no use: {0}")]
    BadAnswer(String),
    #[error("a key or signing request cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl IdentityError {
    /// Whether the same attempt may succeed later, without anybody changing anything here.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy(_) | Self::TooMuch { .. })
    }

    /// How long the control plane wants to be left alone.
    pub fn after(&self) -> Duration {
        match self {
            Self::TooMuch { after, .. } => *after,
            _ => Duration::ZERO,
        }
    }
}
