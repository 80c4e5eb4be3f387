//! Small languages: formats of access logs, SPIFFE IDs.

use std::sync::Arc;

use crate::access_log::{ConnectionInfo, Format, LogContext, RequestInfo};

/// A format that is taken can be written, and a line holds one line.
pub fn access_log(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(format) = Format::parse(text) else { return };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let info = RequestInfo::new(Arc::new(ConnectionInfo::between(1, address, address)), 1);
    let mut line = Vec::new();
    format.write(&LogContext::of_connection(&info), &mut line);
    let breaks = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
    assert!(breaks(&line) <= breaks(data) + 1, "{text:?}");
}

/// What is taken for an ID is written back as it came.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<api::SpiffeId>() {
        assert_eq!(id.to_string(), text);
        assert!(!text.contains(['%', '?', '#', '@', '\0']));
        assert!(!id.path().split('/').skip(1).any(|part| matches!(part, "" | "." | "..")), "{text}");
    }
}
