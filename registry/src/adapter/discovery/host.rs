//! A host as the store keeps it and as the HTTP API shows it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Key, PREFIX, Place};

/// A host that checked in for a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub service: String,
    pub ip_address: IpAddr,
    pub service_repo_name: String,
    pub port: u16,
    /// Whether its address may have hosts on other ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_port: bool,
    pub revision: String,
    /// Microseconds since 1970.
    pub last_check_in: u64,
    pub tags: Map<String, Value>,
}

impl Host {
    pub(super) fn key(&self) -> Key {
        (self.service.clone(), self.ip_address, self.port)
    }

    /// As calls name it.
    pub(super) fn place(&self) -> Place {
        Place { address: self.ip_address, port: self.by_port.then_some(self.port) }
    }

    pub(super) fn path(&self) -> String {
        format!("{PREFIX}{}/{}", self.service, self.place())
    }

    /// Cannot fail: a host is made of texts, numbers and JSON.
    pub(super) fn page(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The last microsecond since 1970 at which it still lives.
    pub(super) fn expires(&self, time_to_live: Duration) -> u64 {
        self.last_check_in.saturating_add(u64::try_from(time_to_live.as_micros()).unwrap_or(u64::MAX))
    }

    /// When it checked in, as `2016-05-02 17:35:41.123456+00:00`; a whole second has no fraction.
    pub fn checked_in(&self) -> String {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.last_check_in) * 1000);
        let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, microsecond) = at.to_hms_micro();
        let mut text = format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", u8::from(month));
        if microsecond > 0 {
            // A String takes all that is written to it.
            let _ = write!(text, ".{microsecond:06}");
        }
        text + "+00:00"
    }
}

/// Microseconds since 1970; 0 before it.
pub(super) fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_python_writes_it() {
        let host = |last_check_in| Host {
            service: "web".into(),
            ip_address: [10, 0, 0, 1].into(),
            service_repo_name: String::new(),
            port: 80,
            by_port: false,
            revision: "a".into(),
            last_check_in,
            tags: Map::new(),
        };
        assert_eq!(host(1_462_210_541_123_456).checked_in(), "2016-05-02 17:35:41.123456+00:00");
        assert_eq!(host(1_462_210_541_000_000).checked_in(), "2016-05-02 17:35:41+00:00");
        assert_eq!(host(u64::MAX).checked_in(), "1970-01-01 00:00:00+00:00");
    }
}
