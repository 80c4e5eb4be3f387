//! Transport sockets and their TLS contexts.

use std::sync::Arc;
use std::time::Duration;

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use api::envoy::extensions::transport_sockets::tls::v3 as wire;
use core::transport_socket::ConfigType;
use wire::downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType};

use super::{ReadFile, basics, secret, source, tls_parameters, tls_validation};
use crate::config::error::{At, ConfigError};
use crate::config::{
    CertificateSource, CommonTls, DownstreamTls, ServerResumption, Tickets, UpstreamTls, ValidationSource,
};

/// BoringSSL's default, which is Envoy's.
const SESSION: Duration = Duration::from_secs(7200);

/// `None` is plaintext.
pub(super) fn downstream(
    wire: Option<&core::TransportSocket>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Option<Arc<DownstreamTls>>, ConfigError> {
    let at = at.field("typed_config");
    let Some(context) = context::<wire::DownstreamTlsContext>(wire, &at)? else { return Ok(None) };
    let common = common(context.common_tls_context.as_ref(), &at.field("common_tls_context"), read_file)?;
    if common.certificates.is_empty() {
        return Err(at.field("common_tls_context").refuse("no certificate", "a server needs one"));
    }
    let require_client_certificate = context.require_client_certificate == Some(true);
    if require_client_certificate && common.validation.is_none() {
        return Err(at.field("require_client_certificate").refuse("true", "needs a validation context"));
    }
    let policy = OcspStaplePolicy::try_from(context.ocsp_staple_policy);
    if policy != Ok(OcspStaplePolicy::LenientStapling) {
        let at = at.field("ocsp_staple_policy");
        return Err(at.refuse(context.ocsp_staple_policy, "only LENIENT_STAPLING is supported: nothing is stapled"));
    }
    Ok(Some(Arc::new(DownstreamTls {
        common,
        require_client_certificate,
        resumption: resumption(&context, &at, read_file)?,
        prefer_client_ciphers: context.prefer_client_ciphers,
        full_scan_certs_on_sni_mismatch: context.full_scan_certs_on_sni_mismatch == Some(true),
    })))
}

fn resumption(
    wire: &wire::DownstreamTlsContext,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<ServerResumption, ConfigError> {
    let tickets = match &wire.session_ticket_keys_type {
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => Tickets::Off,
        Some(SessionTicketKeysType::SessionTicketKeys(keys)) => {
            ticket_keys(keys, &at.field("session_ticket_keys"), read_file)?
        }
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(_)) => {
            let at = at.field("session_ticket_keys_sds_secret_config");
            return Err(at.refuse("keys over SDS", "give them by `session_ticket_keys`"));
        }
        _ => Tickets::Own,
    };
    let timeout = at.field("session_timeout");
    Ok(ServerResumption {
        stateful: !wire.disable_stateful_session_resumption,
        tickets,
        timeout: basics::duration(wire.session_timeout.as_ref(), SESSION, &timeout)?,
    })
}

fn ticket_keys(
    wire: &wire::TlsSessionTicketKeys,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Tickets, ConfigError> {
    let at = at.field("keys");
    let one = |(index, key): (usize, &core::DataSource)| {
        let at = at.index(index);
        let bytes = basics::data_source(key, &at, Some(read_file))?;
        let length = bytes.len();
        <[u8; 80]>::try_from(bytes).map_err(|_| at.refuse(format_args!("{length} bytes"), "a key has 80 bytes"))
    };
    if wire.keys.is_empty() {
        return Err(at.missing());
    }
    wire.keys.iter().enumerate().map(one).collect::<Result<_, _>>().map(Tickets::Shared)
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
    if let [_, _, ..] = common.certificates.as_slice() {
        return Err(at.field("common_tls_context").refuse("certificates", "a client shows one"));
    }
    if context.sni.len() > 255 {
        return Err(at.field("sni").refuse(context.sni, "is at most 255 bytes"));
    }
    if context.auto_sni_san_validation && matches!(common.validation, None | Some(ValidationSource::NoRoots)) {
        let at = at.field("auto_sni_san_validation");
        return Err(at.refuse(true, "needs roots to judge the certificate by, in the validation context"));
    }
    Ok(Some(Arc::new(UpstreamTls {
        common,
        sni: context.sni,
        auto_host_sni: context.auto_host_sni,
        auto_sni_san_validation: context.auto_sni_san_validation,
        max_session_keys: context.max_session_keys.unwrap_or(1),
    })))
}

/// The same, but that the certificate has to be for the name asked for by SNI, if it is judged at all.
pub(super) fn by_server_name(tls: &Arc<UpstreamTls>) -> Arc<UpstreamTls> {
    let judged = !matches!(tls.common.validation, None | Some(ValidationSource::NoRoots));
    if judged { Arc::new(UpstreamTls { auto_sni_san_validation: true, ..(**tls).clone() }) } else { Arc::clone(tls) }
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
    let params = tls_parameters::convert(&params, &at.field("tls_params"))?;
    let (validation, peers) = tls_validation::convert(wire.validation_context_type.as_ref(), at, read_file)?;
    Ok(CommonTls {
        certificates: certificates(wire, at, read_file)?,
        validation,
        peers,
        // Each of them may be a list with commas, as Envoy's own examples have it.
        alpn: wire.alpn_protocols.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect(),
        min_version: params.min_version,
        max_version: params.max_version,
        cipher_suites: params.cipher_suites,
        groups: params.groups,
    })
}

fn certificates(
    wire: &wire::CommonTlsContext,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<Vec<CertificateSource>, ConfigError> {
    let (inline, sds) = (at.field("tls_certificates"), at.field("tls_certificate_sds_secret_configs"));
    let (given, named) = (&wire.tls_certificates, &wire.tls_certificate_sds_secret_configs);
    if !given.is_empty() && !named.is_empty() {
        return Err(sds.refuse(named.len(), "certificates are given here or by name, not both"));
    }
    let mut all = Vec::new();
    for (index, one) in given.iter().enumerate() {
        let secret = secret::certificate(one, &inline.index(index), read_file)?;
        all.push(CertificateSource::Inline(Arc::new(secret)));
    }
    for (index, one) in named.iter().enumerate() {
        all.push(CertificateSource::Sds(sds_name(one, &sds.index(index))?));
    }
    Ok(all)
}

pub(super) fn sds_name(wire: &wire::SdsSecretConfig, at: &At<'_>) -> Result<String, ConfigError> {
    if wire.name.is_empty() {
        return Err(at.field("name").missing());
    }
    // Without a source, it is a secret of the bootstrap.
    if wire.sds_config.is_some() {
        source::convert(wire.sds_config.as_ref(), &at.field("sds_config"))?;
    }
    Ok(wire.name.clone())
}
