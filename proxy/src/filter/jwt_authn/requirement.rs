//! What a request must bring (`envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement`).

use std::sync::Arc;

use super::{Places, Provider};

#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    Nothing,
    Provider(Needed),
    /// One of them must hold.
    Any(Vec<Requirement>),
    All(Vec<Requirement>),
    /// Tokens at these places must be valid, if there are any.
    AllowMissing(Places),
    /// Tokens at these places are read, valid or not.
    AllowMissingOrFailed(Places),
}

/// A token of this provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Needed {
    pub provider: Arc<Provider>,
    /// In place of the provider's own.
    pub audiences: Option<Vec<String>>,
}
