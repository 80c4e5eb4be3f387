//! By what a peer's certificate is judged.

use std::sync::Arc;

use api::envoy::extensions::transport_sockets::tls::v3 as wire;
use base64::Engine as _;
use wire::certificate_validation_context::TrustChainVerification;
use wire::common_tls_context::ValidationContextType;
use wire::subject_alt_name_matcher::SanType;

use super::{ReadFile, basics, matcher, secret, tls};
use crate::config::error::{At, ConfigError};
use crate::config::{PeerRules, SanKind, SanMatch, ValidationSource};

pub(super) fn convert(
    wire: Option<&ValidationContextType>,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<(Option<ValidationSource>, PeerRules), ConfigError> {
    match wire {
        None => Ok((None, PeerRules::default())),
        Some(ValidationContextType::ValidationContext(context)) => {
            let at = at.field("validation_context");
            let rules = rules(context, &at, read_file)?;
            let source = source(context, &rules, &at, read_file)?;
            Ok((Some(source), rules))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => {
            let name = tls::sds_name(config, &at.field("validation_context_sds_secret_config"))?;
            Ok((Some(ValidationSource::Sds(name)), PeerRules::default()))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            let sds = at.field("validation_context_sds_secret_config");
            let config = combined.validation_context_sds_secret_config.as_ref().ok_or_else(|| sds.missing())?;
            let context = combined.default_validation_context.clone().unwrap_or_default();
            let at = at.field("default_validation_context");
            if context.trusted_ca.is_some() || context.system_root_certs.is_some() {
                return Err(at.field("trusted_ca").refuse("roots", "come from the secret beside it"));
            }
            Ok((Some(ValidationSource::Sds(tls::sds_name(config, &sds)?)), rules(&context, &at, read_file)?))
        }
        Some(_) => Err(at.field("validation_context_type").refuse("a certificate provider", "is not supported")),
    }
}

fn source(
    wire: &wire::CertificateValidationContext,
    rules: &PeerRules,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<ValidationSource, ConfigError> {
    match (&wire.trusted_ca, &wire.system_root_certs) {
        (Some(_), Some(_)) => Err(at.field("system_root_certs").refuse("set", "`trusted_ca` is set beside it")),
        (Some(_), None) => Ok(ValidationSource::Inline(Arc::new(secret::trusted_ca(wire, at, read_file)?))),
        (None, Some(_)) => Ok(ValidationSource::System),
        (None, None) => {
            let needs = [
                ("match_typed_subject_alt_names", !rules.names.is_empty()),
                ("crl", rules.crl.is_some()),
                ("allow_expired_certificate", rules.allow_expired),
                ("max_verify_depth", rules.max_depth.is_some()),
            ];
            if let Some((name, _)) = needs.iter().find(|(_, set)| *set) {
                return Err(at.field(name).refuse("set", "without `trusted_ca`, anybody could have signed that"));
            }
            let rest = !rules.accept_untrusted && rules.certificate_hashes.is_empty() && rules.spki_hashes.is_empty();
            if rest { Err(at.field("trusted_ca").missing()) } else { Ok(ValidationSource::NoRoots) }
        }
    }
}

fn rules(
    wire: &wire::CertificateValidationContext,
    at: &At<'_>,
    read_file: ReadFile<'_>,
) -> Result<PeerRules, ConfigError> {
    let crl = at.field("crl");
    let crl = wire.crl.as_ref().map(|source| basics::data_source(source, &crl, Some(read_file))).transpose()?;
    Ok(PeerRules {
        names: names(wire, at)?,
        spki_hashes: spki_hashes(&wire.verify_certificate_spki, &at.field("verify_certificate_spki"))?,
        certificate_hashes: hashes(&wire.verify_certificate_hash, &at.field("verify_certificate_hash"))?,
        accept_untrusted: match TrustChainVerification::try_from(wire.trust_chain_verification) {
            Ok(kind) => kind == TrustChainVerification::AcceptUntrusted,
            Err(_) => {
                return Err(at.field("trust_chain_verification").refuse(wire.trust_chain_verification, "is not known"));
            }
        },
        allow_expired: wire.allow_expired_certificate,
        max_depth: wire.max_verify_depth,
        crl: crl.map(Arc::from),
        crl_of_leaf_only: wire.only_verify_leaf_cert_crl,
    })
}

#[expect(deprecated, reason = "control planes in use still send `match_subject_alt_names`")]
fn names(wire: &wire::CertificateValidationContext, at: &At<'_>) -> Result<Vec<SanMatch>, ConfigError> {
    let typed = at.field("match_typed_subject_alt_names");
    let one = |(index, san): (usize, &wire::SubjectAltNameMatcher)| {
        let at = typed.index(index);
        let kind = match SanType::try_from(san.san_type) {
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Email) => SanKind::Email,
            Ok(SanType::IpAddress) => SanKind::Ip,
            other => {
                let rule = "URI, DNS, EMAIL and IP_ADDRESS are supported";
                return Err(at.field("san_type").refuse(format_args!("{other:?}"), rule));
            }
        };
        let at = at.field("matcher");
        let matcher = san.matcher.as_ref().ok_or_else(|| at.missing()).and_then(|wire| matcher::string(wire, &at))?;
        Ok(SanMatch { kind, matcher })
    };
    if wire.match_typed_subject_alt_names.is_empty() {
        let at = at.field("match_subject_alt_names");
        let any =
            |(index, wire)| Ok(SanMatch { kind: SanKind::Any, matcher: matcher::string(wire, &at.index(index))? });
        return wire.match_subject_alt_names.iter().enumerate().map(any).collect();
    }
    if !wire.match_subject_alt_names.is_empty() {
        return Err(at.field("match_subject_alt_names").refuse("set", "`match_typed_subject_alt_names` is set too"));
    }
    wire.match_typed_subject_alt_names.iter().enumerate().map(one).collect()
}

/// Base64 of SHA-256.
fn spki_hashes(wire: &[String], at: &At<'_>) -> Result<Vec<[u8; 32]>, ConfigError> {
    let one = |(index, text): (usize, &String)| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.ok_or_else(|| at.index(index).refuse(text, "is a SHA-256 in base64"))
    };
    wire.iter().enumerate().map(one).collect()
}

/// SHA-256 in hexadecimal, colons or not.
fn hashes(wire: &[String], at: &At<'_>) -> Result<Vec<[u8; 32]>, ConfigError> {
    let one = |(index, text): (usize, &String)| {
        let hash = hex::decode(text.replace(':', "")).ok().and_then(|bytes| bytes.try_into().ok());
        hash.ok_or_else(|| at.index(index).refuse(text, "is a SHA-256 in hexadecimal"))
    };
    wire.iter().enumerate().map(one).collect()
}
