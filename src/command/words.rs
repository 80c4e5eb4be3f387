//! What several verbs take in the same words: users and networks.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::unistd::User;

/// The number of a user of this machine who is named or numbered.
pub fn uid(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match User::from_name(text) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("there is no user {text:?} on this machine; make it first")),
        Err(error) => Err(format!("user {text:?} cannot be looked up ({error}); give the number")),
    }
}

/// A network, or an address that is one by itself.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().map(|net| net.trunc());
    let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("{text:?} is no address and no network, such as 10.8.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_name_and_number() {
        assert_eq!((uid("root"), uid("64001")), (Ok(0), Ok(64001)));
        assert!(uid("nobody-of-this-name").unwrap_err().contains("make it first"));
    }

    #[test]
    fn networks_are_read_and_nonsense_is_refused() {
        assert_eq!(network("10.8.1.0/16").unwrap().to_string(), "10.8.0.0/16");
        assert_eq!(network("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(network("home").unwrap_err().contains("no network"));
    }
}
