//! The proxy against the standards and against those who break them: the real binary in the middle, raw bytes on both
//! sides. Each case is data; what the upstream receives is judged byte for byte.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod abuse;
mod answers;
mod bulletins;
mod early;
mod frames;
mod grpc;
mod http2;
mod judged;
mod oracle;
mod paths;
mod python;
mod recorder;
mod requests;
mod servers;
mod slow;
mod vectors;
mod websocket;
mod weft;
