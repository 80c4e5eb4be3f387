//! Hostnames as text, for what is stored.

use api::Hostname;
use serde::{Deserialize, Deserializer, Serializer, de};

pub fn serialize<S: Serializer>(host: &Hostname, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(host.as_str())
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hostname, D::Error> {
    Hostname::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Any number of them.
pub mod list {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Hostname, Serializer};

    pub fn serialize<S: Serializer>(hosts: &[Hostname], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hosts.iter().map(Hostname::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hostname>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| Hostname::new(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}
