//! The admin interface: where it listens. It keeps no log, and writes no profile.

use std::net::SocketAddr;

use api::envoy::config::accesslog::v3::access_log::ConfigType;
use api::envoy::config::bootstrap::v3::Admin;
use api::envoy::extensions::access_loggers::file::v3::FileAccessLog;

use super::super::basics;
use crate::config::EndpointAddress;
use crate::config::error::{At, ConfigError};

/// There is no log of the admin interface, which is what `/dev/null` asks for.
#[expect(deprecated, reason = "most bootstrap files that are about still set this field")]
pub(super) fn address(wire: &Admin, at: &At<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    silent(&wire.access_log_path, &at.field("access_log_path"))?;
    let logs = at.field("access_log");
    for (index, log) in wire.access_log.iter().enumerate() {
        let at = logs.index(index);
        let at = at.field("typed_config");
        let Some(ConfigType::TypedConfig(any)) = &log.config_type else { return Err(at.missing()) };
        let file: FileAccessLog = basics::unpack(any, &at)?;
        silent(&file.path, &at.field("path"))?;
    }
    let at = at.field("address");
    match wire.address.as_ref().map(|address| basics::address(Some(address), &at)).transpose()? {
        None => Ok(None),
        Some(EndpointAddress::Socket(address)) => Ok(Some(address)),
        Some(other) => Err(at.refuse(format_args!("{other:?}"), "the admin interface binds an IP address")),
    }
}

fn silent(path: &str, at: &At<'_>) -> Result<(), ConfigError> {
    if ["", "/dev/null"].contains(&path) { Ok(()) } else { Err(at.refuse(path, "only /dev/null is supported")) }
}
