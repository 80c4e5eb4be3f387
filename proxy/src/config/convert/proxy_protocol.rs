//! The transport socket that begins connections to a cluster with a PROXY protocol header.

use api::envoy::config::core::v3 as core;
use api::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use core::transport_socket::ConfigType;

use super::{basics, listener_filter};
use crate::config::UpstreamProxyProtocol;
use crate::config::error::{At, ConfigError};
use crate::proxy_protocol::{Version, write_2};

/// A transport socket without what wraps it.
pub(super) struct Unwrapped {
    pub settings: Option<UpstreamProxyProtocol>,
    pub inner: Option<core::TransportSocket>,
}

impl Unwrapped {
    /// Where the inner one stands.
    pub fn at<'a>(&self, outer: &'a At<'a>) -> At<'a> {
        if self.settings.is_some() { outer.field("typed_config.transport_socket") } else { *outer }
    }
}

pub(super) fn unwrap(wire: Option<&core::TransportSocket>, at: &At<'_>) -> Result<Unwrapped, ConfigError> {
    let at = at.field("typed_config");
    let any = match wire.and_then(|wire| wire.config_type.as_ref()) {
        Some(ConfigType::TypedConfig(any)) if basics::is_a::<ProxyProtocolUpstreamTransport>(any) => any,
        _ => return Ok(Unwrapped { settings: None, inner: wire.cloned() }),
    };
    let wrapping: ProxyProtocolUpstreamTransport = basics::unpack(any, &at)?;
    let settings = settings(&wrapping.config.unwrap_or_default(), &at.field("config"))?;
    let inner = wrapping.transport_socket.ok_or_else(|| at.field("transport_socket").missing())?;
    Ok(Unwrapped { settings: Some(settings), inner: Some(inner) })
}

fn settings(wire: &core::ProxyProtocolConfig, at: &At<'_>) -> Result<UpstreamProxyProtocol, ConfigError> {
    use core::proxy_protocol_config::Version as Wire;
    let version = match Wire::try_from(wire.version) {
        Ok(Wire::V1) => Version::V1,
        Ok(Wire::V2) => Version::V2,
        Err(_) => return Err(at.field("version").refuse(wire.version, "is not known")),
    };
    let tlvs = at.field("added_tlvs");
    let one = |(index, tlv): (usize, &core::TlvEntry)| {
        let kind = u8::try_from(tlv.r#type);
        let kind = kind.map_err(|_| tlvs.index(index).field("type").refuse(tlv.r#type, "a type is below 256"))?;
        Ok((kind, tlv.value.clone()))
    };
    let added = wire.added_tlvs.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    let addresses = crate::proxy_protocol::Addresses {
        source: ([0, 0, 0, 0, 0, 0, 0, 1], 0).into(),
        destination: ([0, 0, 0, 0, 0, 0, 0, 1], 0).into(),
    };
    if write_2(Some(addresses), &added).is_err() {
        return Err(tlvs.refuse(added.len(), "a header holds at most 65535 bytes"));
    }
    let pass_through = listener_filter::pass_through(wire.pass_through_tlvs.as_ref(), &at.field("pass_through_tlvs"))?;
    if version == Version::V1 && (!added.is_empty() || pass_through != crate::config::TlvChoice::None) {
        return Err(at.field("version").refuse("V1", "only version 2 has TLVs"));
    }
    Ok(UpstreamProxyProtocol { version, pass_through, added })
}
