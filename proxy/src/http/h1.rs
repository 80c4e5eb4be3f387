//! HTTP/1.1 (RFC 9112), written for forwarding: a head is parsed once into one block, and written out in one piece
//! with as much of the body as is at hand. What could be read differently by two parsers is refused, never guessed.

mod casing;
pub(crate) mod chunked;
mod client;
mod conn;
pub(crate) mod encode;
mod incoming;
mod methods;
mod parse;
mod server;
mod stuck;

pub use client::{Client, SendError};
pub use conn::{Conn, Shared};
pub use incoming::Incoming;
pub use parse::{
    Limits, ParseError, is_framing as is_connection_header, parse_request, parse_response, valid_authority,
};
pub use server::{ServerOptions, serve};

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Until the connection closes; responses only.
    Close,
}

#[cfg(test)]
pub(super) mod tests;
