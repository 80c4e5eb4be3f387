//! Secrets, and the certificates and roots that stand in TLS contexts themselves.

use api::envoy::extensions::transport_sockets::tls::v3 as wire;
use wire::secret::Type;

use super::{ReadFile, basics};
use crate::config::Secret;
use crate::config::error::{At, ConfigError};

pub(super) fn convert(wire: &wire::Secret, at: &At<'_>, read_file: ReadFile<'_>) -> Result<Secret, ConfigError> {
    match &wire.r#type {
        Some(Type::TlsCertificate(wire)) => certificate(wire, &at.field("tls_certificate"), read_file),
        Some(Type::ValidationContext(wire)) => {
            let at = at.field("validation_context");
            if !wire.match_typed_subject_alt_names.is_empty() {
                let at = at.field("match_typed_subject_alt_names");
                return Err(at.refuse("SANs", "stand in the TLS context, not in the secret"));
            }
            trusted_ca(wire, &at, read_file)
        }
        Some(_) => Err(at.refuse(&wire.name, "is neither a certificate nor roots")),
        None => Err(at.missing()),
    }
}

pub(super) fn certificate(
    wire: &wire::TlsCertificate,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Secret, ConfigError> {
    let part = |source: &Option<_>, name| {
        let at = at.field(name);
        source.as_ref().ok_or_else(|| at.missing()).and_then(|wire| basics::data_source(wire, &at, Some(read_file)))
    };
    Ok(Secret::Certificate {
        chain: part(&wire.certificate_chain, "certificate_chain")?,
        key: part(&wire.private_key, "private_key")?,
    })
}

pub(super) fn trusted_ca(
    wire: &wire::CertificateValidationContext,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Secret, ConfigError> {
    let at = at.field("trusted_ca");
    let source = wire.trusted_ca.as_ref().ok_or_else(|| at.missing())?;
    Ok(Secret::TrustedCa(basics::data_source(source, &at, Some(read_file))?))
}
