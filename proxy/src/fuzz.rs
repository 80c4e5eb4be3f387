//! What the fuzzers in `fuzz/` call: each takes any bytes, must not panic, and holds a property besides. The tests run
//! them over the seeds. No part of the proxy's interface.

mod config;
mod dns;
mod first_bytes;
mod http1;
mod http2;
mod identity;
mod jwt;
mod routing;
mod text;

/// A fuzz target; its seeds stand in `fuzz/seeds/NAME/`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 17] = [
    ("http1_request", http1::request),
    ("http1_answer", http1::answer),
    ("http1_chunked", http1::chunked),
    ("http2_frames", http2::frames),
    ("xds", config::xds),
    ("bootstrap", config::bootstrap),
    ("route", routing::route),
    ("client_hello", first_bytes::client_hello),
    ("proxy_protocol", first_bytes::proxy_protocol),
    ("jwt", jwt::jwt),
    ("access_log", text::access_log),
    ("spiffe_id", text::spiffe_id),
    ("dns", dns::dns),
    ("certificate", identity::certificate),
    ("jwt_svid", identity::jwt_svid),
    ("join_token", identity::join_token),
    ("workload_api", identity::workload_api),
];

/// Runs the target of that name.
///
/// # Panics
/// If there is no such target, or a property does not hold.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("the name is one of TARGETS");
    target(data);
}

#[cfg(test)]
mod tests;
