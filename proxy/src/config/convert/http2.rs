//! HTTP/2 as a listener or a cluster wants it.

use api::envoy::config::core::v3::{Http2ProtocolOptions, KeepaliveSettings};

use super::basics::maybe_duration;
use crate::config::error::{At, ConfigError};
use crate::config::{FloodLimits, Http2Options, PingSettings};

/// Upstreams are few and trusted: their answers need not wait for one another.
const UPSTREAM_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// The smallest and the largest window of RFC 9113 section 6.9.
const WINDOWS: std::ops::RangeInclusive<u32> = 65_535..=(1 << 31) - 1;

pub(super) fn downstream(wire: &Http2ProtocolOptions, at: &At<'_>) -> Result<Http2Options, ConfigError> {
    convert(wire, Http2Options::default(), at)
}

/// Floods are a client's doing: their limits mean nothing towards an upstream.
pub(super) fn upstream(wire: &Http2ProtocolOptions, at: &At<'_>) -> Result<Http2Options, ConfigError> {
    let set = [
        ("max_outbound_control_frames", wire.max_outbound_control_frames.is_some()),
        (
            "max_consecutive_inbound_frames_with_empty_payload",
            wire.max_consecutive_inbound_frames_with_empty_payload.is_some(),
        ),
        ("max_inbound_priority_frames_per_stream", wire.max_inbound_priority_frames_per_stream.is_some()),
        (
            "max_inbound_window_update_frames_per_data_frame_sent",
            wire.max_inbound_window_update_frames_per_data_frame_sent.is_some(),
        ),
        ("stream_reset_burst", wire.stream_reset_burst.is_some()),
        ("stream_reset_rate", wire.stream_reset_rate.is_some()),
    ];
    match set.iter().find(|(_, set)| *set) {
        Some((name, _)) => Err(at.field(name).refuse("set", "is supported for listeners only; leave it out here")),
        None => {
            let default = Http2Options { connection_window: UPSTREAM_CONNECTION_WINDOW, ..Http2Options::default() };
            convert(wire, default, at)
        }
    }
}

fn convert(wire: &Http2ProtocolOptions, default: Http2Options, at: &At<'_>) -> Result<Http2Options, ConfigError> {
    let window = |value: Option<u32>, default, name| match value.unwrap_or(default) {
        size if WINDOWS.contains(&size) => Ok(size),
        size => Err(at.field(name).refuse(size, "is from 65535 to 2147483647")),
    };
    Ok(Http2Options {
        hpack_table_size: wire.hpack_table_size.unwrap_or(default.hpack_table_size),
        max_concurrent_streams: match wire.max_concurrent_streams.unwrap_or(default.max_concurrent_streams) {
            0 => return Err(at.field("max_concurrent_streams").refuse(0, "is at least 1")),
            streams => streams,
        },
        stream_window: window(wire.initial_stream_window_size, default.stream_window, "initial_stream_window_size")?,
        connection_window: window(
            wire.initial_connection_window_size,
            default.connection_window,
            "initial_connection_window_size",
        )?,
        keepalive: match &wire.connection_keepalive {
            Some(wire) => keepalive(wire, &at.field("connection_keepalive"))?,
            None => None,
        },
        allow_connect: wire.allow_connect,
        floods: floods(wire, default.floods),
    })
}

/// `None` where no interval is set: then nobody is asked.
fn keepalive(wire: &KeepaliveSettings, at: &At<'_>) -> Result<Option<PingSettings>, ConfigError> {
    let timeout = maybe_duration(wire.timeout.as_ref(), &at.field("timeout"))?;
    let timeout = timeout.filter(|timeout| !timeout.is_zero()).ok_or_else(|| at.field("timeout").missing())?;
    let interval = maybe_duration(wire.interval.as_ref(), &at.field("interval"))?.filter(|time| !time.is_zero());
    let jitter = wire.interval_jitter.map_or(15.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&jitter) {
        return Err(at.field("interval_jitter").refuse(jitter, "is a percentage"));
    }
    Ok(interval.map(|interval| PingSettings { interval, jitter: (jitter * 10_000.0) as u32, timeout }))
}

fn floods(wire: &Http2ProtocolOptions, default: FloodLimits) -> FloodLimits {
    FloodLimits {
        max_outbound_control_frames: wire.max_outbound_control_frames.unwrap_or(default.max_outbound_control_frames),
        max_consecutive_inbound_frames_with_empty_payload: wire
            .max_consecutive_inbound_frames_with_empty_payload
            .unwrap_or(default.max_consecutive_inbound_frames_with_empty_payload),
        max_inbound_priority_frames_per_stream: wire
            .max_inbound_priority_frames_per_stream
            .unwrap_or(default.max_inbound_priority_frames_per_stream),
        max_inbound_window_update_frames_per_data_frame_sent: wire
            .max_inbound_window_update_frames_per_data_frame_sent
            .unwrap_or(default.max_inbound_window_update_frames_per_data_frame_sent),
        stream_reset_burst: wire.stream_reset_burst.unwrap_or(default.stream_reset_burst),
        stream_reset_rate: wire.stream_reset_rate.unwrap_or(default.stream_reset_rate),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use api::prost_types;

    fn at<T>(convert: impl FnOnce(&At<'_>) -> Result<T, ConfigError>) -> Result<T, String> {
        convert(&At::root("http2")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_set_is_envoys_but_for_the_windows() {
        let options = at(|at| downstream(&Http2ProtocolOptions::default(), at)).unwrap();
        assert_eq!((options.max_concurrent_streams, options.hpack_table_size), (1024, 4096));
        assert_eq!(options.floods, FloodLimits::default());
        assert_eq!(options.keepalive, None);
    }

    #[test]
    fn windows_and_keepalive_are_taken_and_what_is_out_of_range_is_refused() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let keepalive = KeepaliveSettings { interval: seconds(30), timeout: seconds(5), ..Default::default() };
        let mut wire = Http2ProtocolOptions {
            initial_stream_window_size: Some(1 << 20),
            connection_keepalive: Some(keepalive),
            ..Default::default()
        };
        let options = at(|at| upstream(&wire, at)).unwrap();
        let keepalive = options.keepalive.unwrap();
        assert_eq!((options.stream_window, keepalive.interval), (1 << 20, Duration::from_secs(30)));
        assert_eq!((keepalive.timeout, keepalive.jitter), (Duration::from_secs(5), 150_000));
        wire.initial_stream_window_size = Some(1000);
        assert!(at(|at| upstream(&wire, at)).unwrap_err().contains("http2.initial_stream_window_size"));
    }

    #[test]
    fn limits_on_floods_are_refused_for_a_cluster() {
        let wire = Http2ProtocolOptions { stream_reset_rate: Some(1), ..Default::default() };
        assert!(at(|at| upstream(&wire, at)).unwrap_err().contains("stream_reset_rate"));
        assert_eq!(at(|at| downstream(&wire, at)).unwrap().floods.stream_reset_rate, 1);
    }
}
