//! Whom the mesh turns away although their certificates are good: certificates by serial number, SPIFFE IDs, and agents.
//!
//! It lives here because the authority and the data plane judge by it, and must agree.

use std::collections::BTreeMap;
use std::fmt;

use crate::X509Svid;
use crate::weft::v1 as wire;
use wire::denied::Who;

/// Everybody who is denied, with the operator's reason, which may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    serials: BTreeMap<String, String>,
    identities: BTreeMap<String, String>,
    agents: BTreeMap<String, String>,
}

/// A certificate that is denied, and by what in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// `the certificate 0a1b…`
    pub what: String,
    pub reason: String,
}

impl DenyList {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.serials.len() + self.identities.len() + self.agents.len()
    }

    /// Adds one; what is there already gets the new reason.
    pub fn add(&mut self, who: Who, reason: impl Into<String>) {
        let (map, key) = match who {
            Who::Serial(serial) => (&mut self.serials, serial),
            Who::Identity(id) => (&mut self.identities, id),
            Who::Agent(agent) => (&mut self.agents, agent),
        };
        map.insert(key, reason.into());
    }

    /// Whether the holder of a certificate is turned away, and why.
    pub fn denies(&self, svid: &X509Svid) -> Option<Denied> {
        self.denies_parts(&svid.serial, || svid.id.to_string(), svid.common_name.as_deref())
    }

    /// The same by what the certificate says. Most of the time nobody is denied, and nothing is compared.
    pub fn denies_parts(&self, serial: &str, id: impl FnOnce() -> String, agent: Option<&str>) -> Option<Denied> {
        if self.is_empty() {
            return None;
        }
        if let Some(reason) = self.serials.get(serial) {
            return Some(Denied { what: format!("the certificate {serial}"), reason: reason.clone() });
        }
        if let Some((agent, reason)) = agent.and_then(|agent| self.agents.get_key_value(agent)) {
            return Some(Denied { what: format!("the agent {agent}"), reason: reason.clone() });
        }
        let (id, reason) = self.identities.get_key_value(&id())?;
        Some(Denied { what: format!("the identity {id}"), reason: reason.clone() })
    }

    pub fn of_wire(denied: &[wire::Denied]) -> Self {
        let mut list = Self::default();
        for denied in denied {
            if let Some(who) = &denied.who {
                list.add(who.clone(), denied.reason.clone());
            }
        }
        list
    }

    pub fn to_wire(&self) -> Vec<wire::Denied> {
        let all = |map: &BTreeMap<String, String>, who: fn(String) -> Who| {
            let one = |(key, reason): (&String, &String)| wire::Denied {
                who: Some(who(key.clone())),
                reason: reason.clone(),
            };
            map.iter().map(one).collect::<Vec<_>>()
        };
        let lists =
            [all(&self.serials, Who::Serial), all(&self.identities, Who::Identity), all(&self.agents, Who::Agent)];
        lists.concat()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an operator denied {} access to the mesh", self.what)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        write!(f, "; `weft ca denied` lists who is denied, and `weft ca allow` lets back in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";

    fn denies(list: &DenyList, serial: &str, id: &str, agent: Option<&str>) -> Option<String> {
        list.denies_parts(serial, || id.to_owned(), agent).map(|denied| denied.what)
    }

    #[test]
    fn a_certificate_is_denied_by_its_serial_its_identity_or_its_agent() {
        let mut list = DenyList::default();
        assert_eq!(denies(&list, "01", REVIEWS, Some("a-1")), None);
        list.add(Who::Serial("01".into()), "");
        assert_eq!(denies(&list, "01", REVIEWS, None).as_deref(), Some("the certificate 01"));
        assert_eq!(denies(&list, "02", REVIEWS, Some("01")), None, "an agent is no serial number");
        list.add(Who::Agent("a-1".into()), "");
        assert_eq!(denies(&list, "02", REVIEWS, Some("a-1")).as_deref(), Some("the agent a-1"));
        list.add(Who::Identity(REVIEWS.into()), "stolen");
        let denied = list.denies_parts("02", || REVIEWS.to_owned(), None).unwrap();
        assert!(denied.to_string().contains("sa/reviews access to the mesh (stolen)"), "{denied}");
        assert_eq!(DenyList::of_wire(&list.to_wire()), list);
    }

    #[test]
    fn what_is_of_a_kind_that_is_not_known_denies_nobody() {
        assert!(DenyList::of_wire(&[wire::Denied::default()]).is_empty());
    }
}
