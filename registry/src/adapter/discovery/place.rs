//! What calls name a host by.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

/// All that an address has of a service, or the one on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl FromStr for Place {
    type Err = AddrParseError;

    /// `10.0.0.1`, `10.0.0.1:80`, `fd00::1` or `[fd00::1]:80`.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self { address, port: None }),
            Err(_) => text.parse::<SocketAddr>().map(|at| Self { address: at.ip(), port: Some(at.port()) }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]:80"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert!(
            ["", "nobody", "10.0.0.1:", "10.0.0.1:70000", "10.1:80"].iter().all(|text| text.parse::<Place>().is_err())
        );
    }
}
