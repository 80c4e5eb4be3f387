//! Mutual TLS by SPIFFE identity: configurations for rustls that read the live identity at each handshake, so a
//! renewal is used by the next connection and disturbs none that is open.

mod config;
mod failure;
mod resolver;
#[cfg(test)]
mod tests;
mod verifier;

pub(super) use self::config::control_plane_config;
pub use self::config::{ClientAuth, TlsOptions, client_config, server_config};
pub use self::failure::Failure;
pub use self::resolver::CertResolver;
pub(super) use self::verifier::verify_chain;
pub use self::verifier::{Allowed, PeerVerifier, peer_id};
