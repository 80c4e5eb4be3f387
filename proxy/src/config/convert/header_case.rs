//! How names of headers are written to a peer that speaks HTTP/1.1.

use api::envoy::config::core::v3::Http1ProtocolOptions;
use api::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;

use crate::config::error::{At, ConfigError};

/// Whether words begin with a capital letter; else names are in lower case.
pub(super) fn is_proper(wire: &Http1ProtocolOptions, at: &At<'_>) -> Result<bool, ConfigError> {
    let at = at.field("header_key_format");
    match wire.header_key_format.as_ref().and_then(|format| format.header_format.as_ref()) {
        None => Ok(false),
        Some(HeaderFormat::ProperCaseWords(_)) => Ok(true),
        Some(HeaderFormat::StatefulFormatter(_)) => {
            Err(at.field("stateful_formatter").refuse("set", "is not supported; `proper_case_words` is"))
        }
    }
}
