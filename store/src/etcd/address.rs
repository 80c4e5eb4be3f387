//! Where an etcd is: `etcd://host:port,host:port/prefix`, or `etcds://…` with TLS.

use std::fmt;
use std::str::FromStr;

use etcd_client::{Certificate, Identity, TlsOptions};

/// The members of an etcd, and the part of its keys that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress {
    hosts: Vec<String>,
    pub(super) prefix: String,
    pub(super) tls: bool,
}

/// What a connection with TLS is made with, in PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// The authorities that etcd's certificate must come from.
    pub authorities: Vec<u8>,
    /// Our own certificate and its key, where etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Where a mesh is kept if the address names no place.
const PREFIX: &str = "weft";

impl EtcdAddress {
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    pub(super) fn urls(&self) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.hosts.iter().map(|host| format!("{scheme}://{host}")).collect()
    }
}

impl EtcdTls {
    pub(super) fn options(self) -> TlsOptions {
        let options = TlsOptions::new().ca_certificate(Certificate::from_pem(self.authorities));
        match self.identity {
            Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
            None => options,
        }
    }
}

impl FromStr for EtcdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} {why}; write etcd://host:port,host:port or etcds://…");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("names no kind of store"))?;
        let tls = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(wrong("is no address of an etcd")),
        };
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.contains('@') {
            return Err(wrong("holds a name or password, which every process list would show: use certificates"));
        }
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if let Some(bad) = hosts.iter().find(|host| !is_host_and_port(host)) {
            return Err(wrong(&format!("holds {bad:?}, which is no host:port")));
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { PREFIX } else { prefix };
        if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)) {
            return Err(wrong("has a prefix with other characters than letters, digits and -_./"));
        }
        Ok(Self { hosts, prefix: format!("/{prefix}/"), tls })
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}{}", self.hosts.join(","), self.prefix.trim_end_matches('/'))
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_the_place_of_the_mesh_are_read() {
        let address: EtcdAddress = "etcd://10.0.0.1:2379,[::1]:2379/meshes/east".parse().unwrap();
        assert_eq!(address.urls(), ["http://10.0.0.1:2379", "http://[::1]:2379"]);
        assert_eq!(address.prefix, "/meshes/east/");
        assert_eq!(address.to_string(), "etcd://10.0.0.1:2379,[::1]:2379/meshes/east");
        let address: EtcdAddress = "etcds://etcd.example:2379".parse().unwrap();
        assert_eq!((address.urls(), address.prefix.as_str()), (vec!["https://etcd.example:2379".into()], "/weft/"));
    }

    #[test]
    fn a_wrong_address_is_refused_with_the_right_form() {
        for wrong in [
            "",
            "10.0.0.1:2379",
            "redis://a:1",
            "etcd://",
            "etcd://a",
            "etcd://a:0",
            "etcd://a:1,,b:2",
            "etcd://u:p@a:1",
        ] {
            let error = wrong.parse::<EtcdAddress>().unwrap_err();
            assert!(error.contains("etcd://host:port"), "{wrong}: {error}");
        }
    }
}
