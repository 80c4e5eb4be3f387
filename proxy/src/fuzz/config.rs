//! Configuration from outside: resources over xDS in either encoding, and bootstrap files.

use api::envoy::config::bootstrap::v3::Bootstrap;
use api::envoy::config::{
    cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener, route::v3::RouteConfiguration,
};
use api::envoy::extensions::transport_sockets::tls::v3::Secret;
use api::prost::{Message, Name};

use crate::bootstrap::{Format, document, proto_json};
use crate::config::convert;

fn no_files(_: &str) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// The first byte chooses the kind and the encoding; what is taken is taken again in the other encoding's bytes.
pub fn xds(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 5 {
        0 => take::<Listener, _>(data, |wire| convert::listener(wire, &no_files).is_ok()),
        1 => take::<RouteConfiguration, _>(data, |wire| convert::route_table(wire).is_ok()),
        2 => take::<Cluster, _>(data, |wire| convert::cluster(wire, &no_files).is_ok()),
        3 => take::<ClusterLoadAssignment, _>(data, |wire| convert::load_assignment(wire).is_ok()),
        _ => take::<Secret, _>(data, |wire| convert::secret(wire, &no_files).is_ok()),
    }
}

fn take<M: Message + Name + Default, F: Fn(&M) -> bool>(data: &[u8], convert: F) {
    let wire = match data.first() {
        Some(b'{') => read_json(data),
        _ => M::decode(data).ok(),
    };
    let Some(wire) = wire else { return };
    let again = M::decode(wire.encode_to_vec().as_slice()).expect("what was encoded here can be decoded");
    assert_eq!(convert(&wire), convert(&again));
}

fn read_json<M: Name + Default>(data: &[u8]) -> Option<M> {
    let text = std::str::from_utf8(data).ok()?;
    proto_json::message(document::parse(text, Format::Json).ok()?).ok()
}

pub fn bootstrap(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Yaml, Format::Json] {
        let value = document::parse(text, format).ok();
        if let Some(file) = value.and_then(|value| proto_json::encoded::<Bootstrap>(value).ok()) {
            let _ = convert::bootstrap(file.into(), &no_files);
        }
    }
}
