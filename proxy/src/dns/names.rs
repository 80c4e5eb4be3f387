//! The names of the mesh, arranged for lookup: with the shorter forms that this workload's namespace allows, the search
//! domain, and wildcards (Istio, `pkg/dns/client`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Name, NameTable};

/// What is known of a name.
#[derive(Debug, PartialEq)]
pub struct Found<'a> {
    pub name: &'a Name,
    /// The name that it stands for, if it was asked for below the search domain.
    pub stands_for: Option<&'a str>,
    /// Whether nobody but the mesh can know it, whatever is asked of it.
    pub is_own: bool,
}

#[derive(Debug)]
pub struct Names {
    by_name: HashMap<String, Name>,
    /// Whose an address is.
    by_address: HashMap<IpAddr, String>,
}

impl Names {
    /// As a workload in `namespace` of a mesh with this domain calls them.
    pub fn new(table: &NameTable, namespace: &str, domain: &str) -> Self {
        let mut by_name: HashMap<String, Name> = table.names.clone().into_iter().collect();
        // What ends in another domain is another mesh's, of which these forms say nothing.
        let shortened = table.names.iter().filter_map(|(host, name)| {
            let (short, home) = name.short.as_ref()?;
            (*host == format!("{short}.{home}.svc.{domain}")).then_some((name, short, home))
        });
        // Forms that tell the namespace are its service's, whoever else is called so.
        for (name, short, home) in shortened.clone() {
            for form in [format!("{short}.{home}"), format!("{short}.{home}.svc")] {
                if table.names.get(&form).is_none_or(|other| other.short.is_none()) {
                    by_name.insert(form, name.clone());
                }
            }
        }
        for (name, short, _) in shortened.filter(|(_, _, home)| *home == namespace) {
            by_name.entry(short.clone()).or_insert_with(|| name.clone());
        }
        Self { by_name, by_address: owners(table) }
    }

    /// The name of the address that a question below `in-addr.arpa` or `ip6.arpa` is about, if it is the mesh's.
    pub fn owner(&self, asked: &str) -> Option<&str> {
        self.by_address.get(&address(asked)?).map(String::as_str)
    }

    /// Looks a name up, itself first, then without the search domain, then below the most specific wildcard.
    pub fn find(&self, asked: &str, search: Option<&str>) -> Option<Found<'_>> {
        if let Some(name) = self.by_name.get(asked) {
            return Some(Found { name, stands_for: None, is_own: name.short.is_some() });
        }
        let searched = search.and_then(|domain| asked.strip_suffix(domain)?.strip_suffix('.'));
        if let Some((host, name)) = searched.and_then(|host| self.by_name.get_key_value(host)) {
            return Some(Found { name, stands_for: Some(host), is_own: true });
        }
        let parents = asked.match_indices('.').map(|(at, _)| format!("*{}", &asked[at..]));
        let name = parents.into_iter().find_map(|wildcard| self.by_name.get(&wildcard))?;
        Some(Found { name, stands_for: None, is_own: false })
    }
}

/// Of several names of an address the most exact: a pod's own before its service's, and both before what else they are
/// called; then the first of the alphabet.
fn owners(table: &NameTable) -> HashMap<IpAddr, String> {
    let labels = |name: &Name| name.short.as_ref().map_or(0, |(short, _)| 1 + short.matches('.').count());
    let mut hosts: Vec<(&String, &Name)> = table.names.iter().filter(|(host, _)| !host.contains('*')).collect();
    hosts.sort_by_key(|(host, name)| (std::cmp::Reverse(labels(name)), host.as_str()));
    let mut owners = HashMap::new();
    for (host, name) in hosts {
        let addresses = name.v4.iter().map(|ip| IpAddr::V4(*ip)).chain(name.v6.iter().map(|ip| IpAddr::V6(*ip)));
        for address in addresses {
            owners.entry(address).or_insert_with(|| host.clone());
        }
    }
    owners
}

/// RFC 1035 §3.5 and RFC 3596 §2.5: the parts of an address, the last first.
fn address(asked: &str) -> Option<IpAddr> {
    if let Some(parts) = asked.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = parts.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let [d, c, b, a] = parts[..] else { return None };
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let nibbles = asked.strip_suffix(".ip6.arpa")?.split('.').rev();
    let digit = |text: &str| text.chars().next().filter(|_| text.len() == 1)?.to_digit(16);
    let nibbles: Vec<u128> = nibbles.map(|text| digit(text).map(u128::from)).collect::<Option<_>>()?;
    let whole = nibbles.iter().fold(0, |whole, nibble| whole << 4 | nibble);
    (nibbles.len() == 32).then(|| Ipv6Addr::from(whole).into())
}
