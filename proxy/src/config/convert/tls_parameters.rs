//! Versions, cipher suites and groups of TLS, by OpenSSL's names.

use api::envoy::extensions::transport_sockets::tls::v3 as wire;
use rustls::{CipherSuite, NamedGroup};
use wire::tls_parameters::TlsProtocol;

use crate::config::TlsVersion;
use crate::config::error::{At, ConfigError};

pub(super) struct Parameters {
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    pub cipher_suites: Option<Vec<CipherSuite>>,
    pub groups: Option<Vec<NamedGroup>>,
}

pub(super) fn convert(wire: &wire::TlsParameters, at: &At<'_>) -> Result<Parameters, ConfigError> {
    let (least, most) = (at.field("tls_minimum_protocol_version"), at.field("tls_maximum_protocol_version"));
    let min_version = version(wire.tls_minimum_protocol_version, TlsVersion::V12, &least)?;
    let max_version = version(wire.tls_maximum_protocol_version, TlsVersion::V13, &most)?;
    if min_version > max_version {
        return Err(most.refuse("TLSv1_2", "is below the minimum"));
    }
    Ok(Parameters {
        min_version,
        max_version,
        cipher_suites: cipher_suites(&wire.cipher_suites, &at.field("cipher_suites"))?,
        groups: groups(&wire.ecdh_curves, &at.field("ecdh_curves"))?,
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

/// Those of TLS 1.2 with forward secrecy; those of TLS 1.3 are not for choosing. `[a|b]` are alike to BoringSSL, and
/// in this order here.
fn cipher_suites(wire: &[String], at: &At<'_>) -> Result<Option<Vec<CipherSuite>>, ConfigError> {
    let one = |(index, names): (usize, &String)| {
        let alike = names.strip_prefix('[').and_then(|names| names.strip_suffix(']'));
        let names = alike.unwrap_or(names).split('|');
        let suites = names.map(|name| suite(name).ok_or_else(|| at.index(index).refuse(name, SUITES)));
        suites.collect::<Result<Vec<_>, _>>()
    };
    let all = wire.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(all.concat()).filter(|all| !all.is_empty()))
}

const SUITES: &str = "suites of TLS 1.2 are ECDHE-ECDSA- or ECDHE-RSA-, with AES128-GCM-SHA256, AES256-GCM-SHA384 or \
                      CHACHA20-POLY1305";

fn suite(name: &str) -> Option<CipherSuite> {
    Some(match name {
        "ECDHE-ECDSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-CHACHA20-POLY1305" => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

fn groups(wire: &[String], at: &At<'_>) -> Result<Option<Vec<NamedGroup>>, ConfigError> {
    let one = |(index, name): (usize, &String)| match name.as_str() {
        "X25519" => Ok(NamedGroup::X25519),
        "P-256" => Ok(NamedGroup::secp256r1),
        "P-384" => Ok(NamedGroup::secp384r1),
        "X25519MLKEM768" => Ok(NamedGroup::X25519MLKEM768),
        name => Err(at.index(index).refuse(name, "X25519MLKEM768, X25519, P-256 and P-384 are supported")),
    };
    let all = wire.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(suites: &[&str], curves: &[&str]) -> Result<Parameters, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wire =
            wire::TlsParameters { cipher_suites: owned(suites), ecdh_curves: owned(curves), ..Default::default() };
        convert(&wire, &At::root("p")).map_err(|error| format!("{}: {}", error.path, error.value))
    }

    #[test]
    fn openssls_names_are_known_and_what_is_not_there_is_refused_by_name() {
        let made = parameters(&["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]"], &["P-256"]).unwrap();
        assert_eq!(made.cipher_suites.unwrap().len(), 2);
        assert_eq!(made.groups, Some(vec![NamedGroup::secp256r1]));
        let refused = |suites: &[&str], curves: &[&str]| parameters(suites, curves).err().unwrap();
        assert_eq!(refused(&["ECDHE-RSA-CHACHA20-POLY1305", "AES128-SHA"], &[]), "p.cipher_suites[1]: AES128-SHA");
        assert_eq!(refused(&[], &["P-521"]), "p.ecdh_curves[0]: P-521");
        assert_eq!(parameters(&[], &[]).unwrap().groups, None);
    }

    #[test]
    fn a_minimum_above_the_maximum_is_refused() {
        let wire = wire::TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13 as i32,
            tls_maximum_protocol_version: TlsProtocol::TlSv12 as i32,
            ..Default::default()
        };
        assert_eq!(convert(&wire, &At::root("p")).err().unwrap().path, "p.tls_maximum_protocol_version");
    }
}
