//! Transport sockets and their TLS contexts.

use std::sync::Arc;

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use api::envoy::extensions::transport_sockets::tls::v3 as wire;
use core::transport_socket::ConfigType;
use wire::common_tls_context::ValidationContextType;
use wire::subject_alt_name_matcher::SanType;
use wire::tls_parameters::TlsProtocol;

use super::{ReadFile, basics, matcher, secret, source};
use crate::config::error::{At, ConfigError};
use crate::config::{
    CertificateSource, CommonTls, DownstreamTls, ServerResumption, StringMatch, TlsVersion, UpstreamTls,
    ValidationSource,
};

/// `None` is plaintext.
pub(super) fn downstream(
    wire: Option<&core::TransportSocket>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<Arc<DownstreamTls>>, ConfigError> {
    let at = at.field("typed_config");
    let Some(context) = context::<wire::DownstreamTlsContext>(wire, &at)? else { return Ok(None) };
    let common = common(context.common_tls_context.as_ref(), &at.field("common_tls_context"), read_file)?;
    if common.certificate.is_none() {
        return Err(at.field("common_tls_context").refuse("no certificate", "a server needs one"));
    }
    let require_client_certificate = context.require_client_certificate == Some(true);
    if require_client_certificate && common.validation.is_none() {
        return Err(at.field("require_client_certificate").refuse("true", "needs a validation context"));
    }
    Ok(Some(Arc::new(DownstreamTls { common, require_client_certificate, resumption: resumption(&context) })))
}

fn resumption(wire: &wire::DownstreamTlsContext) -> ServerResumption {
    use wire::downstream_tls_context::SessionTicketKeysType::DisableStatelessSessionResumption;
    match (&wire.session_ticket_keys_type, wire.disable_stateful_session_resumption) {
        (_, true) => ServerResumption::Off,
        (Some(DisableStatelessSessionResumption(true)), false) => ServerResumption::SessionIds,
        _ => ServerResumption::Any,
    }
}

/// `None` is plaintext.
pub(super) fn upstream(
    wire: Option<&core::TransportSocket>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<Arc<UpstreamTls>>, ConfigError> {
    let at = at.field("typed_config");
    let Some(context) = context::<wire::UpstreamTlsContext>(wire, &at)? else { return Ok(None) };
    let common = common(context.common_tls_context.as_ref(), &at.field("common_tls_context"), read_file)?;
    Ok(Some(Arc::new(UpstreamTls {
        common,
        sni: context.sni,
        max_session_keys: context.max_session_keys.unwrap_or(1),
    })))
}

fn context<M: api::prost::Name + Default>(
    wire: Option<&core::TransportSocket>,
    at: &At<'_>,
) -> Result<Option<M>, ConfigError> {
    match wire.map(|wire| &wire.config_type) {
        None => Ok(None),
        Some(Some(ConfigType::TypedConfig(any))) if basics::is_a::<RawBuffer>(any) => Ok(None),
        Some(Some(ConfigType::TypedConfig(any))) => basics::unpack(any, at).map(Some),
        Some(None) => Err(at.missing()),
    }
}

fn common(
    wire: Option<&wire::CommonTlsContext>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<CommonTls, ConfigError> {
    let Some(wire) = wire else { return Err(at.missing()) };
    let params = wire.tls_params.clone().unwrap_or_default();
    let versions = at.field("tls_params");
    let (validation, san_matchers) = validation(wire.validation_context_type.as_ref(), at, read_file)?;
    Ok(CommonTls {
        certificate: certificate(wire, at, read_file)?,
        validation,
        san_matchers,
        alpn: wire.alpn_protocols.clone(),
        min_version: version(
            params.tls_minimum_protocol_version,
            TlsVersion::V12,
            &versions.field("tls_minimum_protocol_version"),
        )?,
        max_version: version(
            params.tls_maximum_protocol_version,
            TlsVersion::V13,
            &versions.field("tls_maximum_protocol_version"),
        )?,
    })
}

fn version(wire: i32, default: TlsVersion, at: &At<'_>) -> Result<TlsVersion, ConfigError> {
    match TlsProtocol::try_from(wire) {
        Ok(TlsProtocol::TlsAuto) => Ok(default),
        Ok(TlsProtocol::TlSv12) => Ok(TlsVersion::V12),
        Ok(TlsProtocol::TlSv13) => Ok(TlsVersion::V13),
        Ok(old) => Err(at.refuse(old.as_str_name(), "TLS 1.2 and 1.3 are supported")),
        Err(_) => Err(at.refuse(wire, "is not known")),
    }
}

fn certificate(
    wire: &wire::CommonTlsContext,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<CertificateSource>, ConfigError> {
    let (inline, sds) = (at.field("tls_certificates"), at.field("tls_certificate_sds_secret_configs"));
    match (wire.tls_certificates.as_slice(), wire.tls_certificate_sds_secret_configs.as_slice()) {
        ([], []) => Ok(None),
        ([one], []) => {
            let secret = secret::certificate(one, &inline.index(0), read_file)?;
            Ok(Some(CertificateSource::Inline(Arc::new(secret))))
        }
        ([], [one]) => Ok(Some(CertificateSource::Sds(sds_name(one, &sds.index(0))?))),
        (many, _) => Err(at.refuse(format_args!("{} certificates", many.len()), "one certificate is supported")),
    }
}

fn sds_name(wire: &wire::SdsSecretConfig, at: &At<'_>) -> Result<String, ConfigError> {
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    // Without a source, it is a secret of the bootstrap.
    if wire.sds_config.is_some() {
        source::convert(wire.sds_config.as_ref(), &at.field("sds_config"))?;
    }
    Ok(wire.name.clone())
}

type Validation = (Option<ValidationSource>, Vec<StringMatch>);

fn validation(
    wire: Option<&ValidationContextType>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Validation, ConfigError> {
    match wire {
        None => Ok((None, Vec::new())),
        Some(ValidationContextType::ValidationContext(context)) => {
            let at = at.field("validation_context");
            let secret = secret::trusted_ca(context, &at, read_file)?;
            Ok((Some(ValidationSource::Inline(Arc::new(secret))), sans(context, &at)?))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let name = sds_name(config, &at.field("validation_context_sds_secret_config"))?;
            Ok((Some(ValidationSource::Sds(name)), Vec::new()))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            let sds = at.field("validation_context_sds_secret_config");
            let config = combined.validation_context_sds_secret_config.as_ref().ok_or_else(|| sds.missing())?;
            let context = combined.default_validation_context.clone().unwrap_or_default();
            let at = at.field("default_validation_context");
            if context.trusted_ca.is_some() {
                return Err(at.field("trusted_ca").refuse("roots", "come from the secret beside it"));
            }
            Ok((Some(ValidationSource::Sds(sds_name(config, &sds)?)), sans(&context, &at)?))
        }
        Some(_) => Err(at.field("validation_context_type").refuse("a certificate provider", "is not supported")),
    }
}

fn sans(wire: &wire::CertificateValidationContext, at: &At<'_>) -> Result<Vec<StringMatch>, ConfigError> {
    let at = at.field("match_typed_subject_alt_names");
    let one = |(index, san): (usize, &wire::SubjectAltNameMatcher)| {
        let at = at.index(index);
        match SanType::try_from(san.san_type) {
            Ok(SanType::Uri | SanType::Dns) => {}
            other => return Err(at.field("san_type").refuse(format_args!("{other:?}"), "URI and DNS are supported")),
        }
        let at = at.field("matcher");
        san.matcher.as_ref().ok_or_else(|| at.missing()).and_then(|wire| matcher::string(wire, &at))
    };
    wire.match_typed_subject_alt_names.iter().enumerate().map(one).collect()
}
