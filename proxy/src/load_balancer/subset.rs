//! Subsets (Envoy `LbSubsetConfig`): hosts by their metadata, for requests whose route asks for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::health::Health;
use super::host_set::{HostSet, Rules};
use crate::config::{Endpoint, LbMetadata, LoadAssignment, SubsetFallback, SubsetRules};

#[derive(Debug)]
pub struct Subsets {
    rules: Arc<SubsetRules>,
    /// For each selector, by the values of its keys.
    sets: Vec<HashMap<Vec<String>, HostSet>>,
    default: HostSet,
}

impl Subsets {
    pub fn build(
        assignment: &Arc<LoadAssignment>,
        subsets: &Arc<SubsetRules>,
        rules: Rules,
        health: impl Fn(usize) -> Health,
    ) -> Self {
        let rules = Rules { locality_weighted: rules.locality_weighted && subsets.locality_weighted, ..rules };
        let sets = subsets.selectors.iter().map(|selector| {
            let mut members: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
            for (host, endpoint) in assignment.endpoints().enumerate() {
                if let Some(values) = values(endpoint.lb_metadata.as_deref(), &selector.keys) {
                    members.entry(values).or_default().push(host);
                }
            }
            let set = |members: Vec<usize>| {
                HostSet::build(assignment, rules, &health, |host| members.binary_search(&host).is_ok())
            };
            members.into_iter().map(|(values, members)| (values, set(members))).collect()
        });
        let default: Vec<bool> = assignment.endpoints().map(|endpoint| is_default(endpoint, subsets)).collect();
        Self {
            sets: sets.collect(),
            default: HostSet::build(assignment, rules, &health, |host| default[host]),
            rules: Arc::clone(subsets),
        }
    }

    /// The hosts for a request; `whole` are those of the cluster. `None`: there are none for it.
    pub fn find<'a>(&'a self, wanted: Option<&LbMetadata>, whole: &'a HostSet) -> Option<&'a HostSet> {
        let Some(wanted) = wanted else { return self.fall_back(&self.rules.fallback, whole) };
        let mut keys: Vec<&String> = wanted.keys().collect();
        loop {
            let Some(at) =
                self.rules.selectors.iter().position(|selector| selector.keys.iter().eq(keys.iter().copied()))
            else {
                return self.fall_back(&self.rules.fallback, whole);
            };
            let values: Vec<String> = keys.iter().map(|key| wanted[*key].clone()).collect();
            if let Some(found) = self.sets[at].get(&values) {
                return Some(found);
            }
            match &self.rules.selectors[at].fallback {
                // Always fewer keys, so that this ends.
                Some(SubsetFallback::Keys(fewer)) => keys.retain(|key| fewer.contains(key)),
                Some(fallback) => return self.fall_back(fallback, whole),
                None => return self.fall_back(&self.rules.fallback, whole),
            }
        }
    }

    fn fall_back<'a>(&'a self, fallback: &SubsetFallback, whole: &'a HostSet) -> Option<&'a HostSet> {
        match fallback {
            SubsetFallback::AnyEndpoint => Some(whole),
            SubsetFallback::DefaultSubset => Some(&self.default),
            SubsetFallback::None | SubsetFallback::Keys(_) => None,
        }
    }
}

fn values(metadata: Option<&LbMetadata>, keys: &[String]) -> Option<Vec<String>> {
    keys.iter().map(|key| metadata?.get(key).cloned()).collect()
}

fn is_default(endpoint: &Endpoint, subsets: &SubsetRules) -> bool {
    let has = |(key, value): (&String, &String)| {
        endpoint.lb_metadata.as_ref().is_some_and(|metadata| metadata.get(key) == Some(value))
    };
    subsets.default_subset.iter().all(has)
}

#[cfg(test)]
mod tests;
