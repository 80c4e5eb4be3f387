//! Ports and ranges of them, as packet filters take them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One port, or all from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// `80:90`, or the only port.
    pub fn iptables(self) -> String {
        self.with(':')
    }

    fn with(self, between: char) -> String {
        let Self { first, last } = self;
        if first == last { first.to_string() } else { format!("{first}{between}{last}") }
    }
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

/// `80-90`, or the only port; nftables takes it so.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with('-'))
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no port and no range of ports, such as 8000-8010");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last { Err(wrong()) } else { Ok(Self { first, last }) }
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
