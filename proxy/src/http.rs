//! HTTP as the proxy sees it, whatever version carries it: heads, headers, bodies, and the codecs that move them.

pub mod headers;
pub mod message;
