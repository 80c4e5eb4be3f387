//! `envoy.config.core.v3.Http2ProtocolOptions`, for either side of a connection.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    pub hpack_table_size: u32,
    pub max_concurrent_streams: u32,
    /// Bytes a peer may send before they are taken, per stream and for the connection.
    pub stream_window: u32,
    pub connection_window: u32,
    pub keepalive: Option<PingSettings>,
    /// `allow_connect`: whether a client is told that it may carry other protocols in a stream (RFC 8441).
    pub allow_connect: bool,
    pub floods: FloodLimits,
}

impl Default for Http2Options {
    /// Envoy's, but for the windows: it gives 16 and 24 MiB, and as much of our memory may a slow reader hold.
    fn default() -> Self {
        Self {
            hpack_table_size: 4096,
            max_concurrent_streams: 1024,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            keepalive: None,
            allow_connect: false,
            floods: FloodLimits::default(),
        }
    }
}

/// `connection_keepalive`: how often an HTTP/2 peer is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingSettings {
    pub interval: Duration,
    /// Parts per million of the interval that may be added to it.
    pub jitter: u32,
    pub timeout: Duration,
}

/// What a client may send of frames that cost it little, before its connection is ended. The names are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// PING and SETTINGS that ask for an answer, above a steady trickle.
    pub max_outbound_control_frames: u32,
    pub max_consecutive_inbound_frames_with_empty_payload: u32,
    pub max_inbound_priority_frames_per_stream: u32,
    pub max_inbound_window_update_frames_per_data_frame_sent: u32,
    /// Streams that are reset, by either side: so many at once, and then so many a second.
    pub stream_reset_burst: u64,
    pub stream_reset_rate: u64,
}

impl Default for FloodLimits {
    /// Envoy's.
    fn default() -> Self {
        Self {
            max_outbound_control_frames: 1000,
            max_consecutive_inbound_frames_with_empty_payload: 1,
            max_inbound_priority_frames_per_stream: 100,
            max_inbound_window_update_frames_per_data_frame_sent: 10,
            stream_reset_burst: 1000,
            stream_reset_rate: 33,
        }
    }
}
