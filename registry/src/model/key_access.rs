//! Whether a gateway may be handed the private keys that its servers show. What a proxy says of itself decides nothing:
//! whoever knows its identity tells, and until then the answer is no.

/// The answer, and in words for an operator why it is not yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    Granted,
    /// It cannot be told now. The proxy goes on with what it has, and gets nothing new.
    Unknown(String),
    Denied(String),
}

impl Default for KeyAccess {
    fn default() -> Self {
        Self::Denied("nothing here can tell that it may".into())
    }
}
