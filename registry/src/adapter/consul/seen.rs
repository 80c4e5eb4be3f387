//! What was last read of each instance, in so far as it tells that Consul has something newer. No I/O.
//!
//! Every comparison is with what was read, and not with the answer before: a change that was missed once is found the
//! next time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry::{Check, Entry, Occupied};

#[derive(Debug, Default)]
pub(super) struct Seen {
    services: HashMap<String, Read>,
    /// Which services have instances on a node.
    nodes: HashMap<String, BTreeSet<String>>,
}

/// A service as it was last read.
#[derive(Debug, Default)]
struct Read {
    index: u64,
    /// The last changes of node and instance, by node and ID.
    instances: BTreeMap<(String, String), (u64, u64)>,
    /// Checks that do not pass.
    checks: BTreeSet<CheckKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CheckKey {
    status: String,
    node: String,
    id: String,
    /// Empty for a check of the whole node.
    service: String,
}

impl Seen {
    /// A service was read at this index.
    pub fn read(&mut self, service: &str, index: u64, entries: &[Entry]) {
        self.forget(service);
        let mut read = Read { index, ..Read::default() };
        for entry in entries {
            let (node, instance) = (&entry.node, &entry.service);
            self.nodes.entry(node.node.clone()).or_default().insert(service.to_owned());
            let changed = (node.modify_index, instance.modify_index);
            read.instances.insert((node.node.clone(), instance.id.clone()), changed);
            let checks = entry.checks.iter().flatten().filter(|check| check.status != "passing");
            read.checks.extend(checks.map(CheckKey::of));
        }
        self.services.insert(service.to_owned(), read);
    }

    pub fn forget(&mut self, service: &str) {
        let Some(read) = self.services.remove(service) else { return };
        for (node, _) in read.instances.into_keys() {
            if let Some(services) = self.nodes.get_mut(&node) {
                services.remove(service);
                if services.is_empty() {
                    self.nodes.remove(&node);
                }
            }
        }
    }

    pub fn has(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// The index that a service was read at; 0 if it was not.
    pub fn index(&self, service: &str) -> u64 {
        self.services.get(service).map_or(0, |read| read.index)
    }

    /// The services with instances on a node.
    pub fn on(&self, node: &str) -> BTreeSet<String> {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// The services that changed on a node, if it carries these now.
    pub fn changed_on(&self, node: &str, occupied: &Occupied) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let mut listed: HashMap<(&str, &str), (u64, u64)> = HashMap::new();
        for (id, instance) in occupied.services.iter().flatten() {
            listed.insert((&instance.service, id), (occupied.node.modify_index, instance.modify_index));
        }
        for service in self.nodes.get(node).into_iter().flatten() {
            let read = self.services.get(service).into_iter().flat_map(|read| &read.instances);
            for ((_, id), read) in read.filter(|((on, _), _)| on == node) {
                if listed.remove(&(service.as_str(), id.as_str())) != Some(*read) {
                    changed.insert(service.clone());
                }
            }
        }
        changed.extend(listed.into_keys().map(|(service, _)| service.to_owned()));
        changed
    }

    /// The services whose health changed, if the checks of this status are these.
    pub fn changed_checks(&self, status: &str, checks: &[Check]) -> BTreeSet<String> {
        let now: BTreeSet<CheckKey> = checks.iter().map(CheckKey::of).collect();
        let all = self.services.values().flat_map(|read| &read.checks);
        let read: BTreeSet<CheckKey> = all.filter(|check| check.status == status).cloned().collect();
        let whose = |check: &CheckKey| match check.service.as_str() {
            "" => self.on(&check.node),
            service => [service.to_owned()].into(),
        };
        now.symmetric_difference(&read).flat_map(whose).collect()
    }
}

impl CheckKey {
    fn of(check: &Check) -> Self {
        Self {
            status: check.status.clone(),
            node: check.node.clone(),
            id: check.id.clone(),
            service: check.service_name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let mut seen = Seen::default();
        for (service, node, checks) in [
            ("reviews", "a", r#"[{"Node": "a", "CheckID": "http", "Status": "critical", "ServiceName": "reviews"}]"#),
            ("details", "a", "[]"),
            ("ratings", "b", r#"[{"Node": "b", "CheckID": "serfHealth", "Status": "passing"}]"#),
        ] {
            let text = format!(
                r#"[{{"Node": {{"Node": "{node}", "ModifyIndex": 3}}, "Checks": {checks},
                     "Service": {{"ID": "{service}-1", "Service": "{service}", "ModifyIndex": 7}}}}]"#
            );
            seen.read(service, 9, &serde_json::from_str::<Vec<Entry>>(&text).unwrap());
        }
        seen
    }

    fn on_a(node_index: u64, services: &[(&str, u64)]) -> Vec<String> {
        let listed = services.iter().map(|(name, index)| {
            format!(r#""{name}-1": {{"ID": "{name}-1", "Service": "{name}", "ModifyIndex": {index}}}"#)
        });
        let listed = listed.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"Node": {{"Node": "a", "ModifyIndex": {node_index}}}, "Services": {{{listed}}}}}"#);
        seen().changed_on("a", &serde_json::from_str(&text).unwrap()).into_iter().collect()
    }

    #[test]
    fn a_node_tells_which_of_its_services_changed_came_or_went() {
        assert_eq!(on_a(3, &[("reviews", 7), ("details", 7)]), [""; 0]);
        assert_eq!(on_a(3, &[("reviews", 8), ("details", 7)]), ["reviews"]);
        assert_eq!(on_a(3, &[("reviews", 7)]), ["details"]);
        assert_eq!(on_a(3, &[("reviews", 7), ("details", 7), ("ratings", 7)]), ["ratings"]);
        assert_eq!(on_a(4, &[("reviews", 7), ("details", 7)]), ["details", "reviews"]);
        assert_eq!(seen().changed_on("a", &Occupied::default()).len(), 2, "a node that is gone");
    }

    fn critical(checks: &str) -> Vec<String> {
        seen().changed_checks("critical", &serde_json::from_str::<Vec<Check>>(checks).unwrap()).into_iter().collect()
    }

    #[test]
    fn checks_tell_whose_health_changed() {
        let known = r#"{"Node": "a", "CheckID": "http", "Status": "critical", "ServiceName": "reviews"}"#;
        assert_eq!(critical(&format!("[{known}]")), [""; 0]);
        assert_eq!(critical("[]"), ["reviews"]);
        let of_node = r#"{"Node": "a", "CheckID": "serfHealth", "Status": "critical"}"#;
        assert_eq!(critical(&format!("[{known}, {of_node}]")), ["details", "reviews"]);
        assert_eq!(seen().changed_checks("warning", &[]), [].into());
    }

    #[test]
    fn what_is_forgotten_is_on_no_node() {
        let mut seen = seen();
        assert_eq!((seen.index("ratings"), seen.on("b").len()), (9, 1));
        seen.forget("ratings");
        assert_eq!((seen.index("ratings"), seen.on("b").len()), (0, 0));
    }
}
