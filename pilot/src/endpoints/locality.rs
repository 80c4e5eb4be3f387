//! Locality load balancing: which localities a client prefers, and what share each gets.

use galley::kinds::{Distribute, Failover, LocalityLb};
use registry::{Endpoint, Locality};

use super::Group;
use crate::audience::Audience;
use crate::destination_rule::PortTraffic;

/// Whether a client's location decides over endpoints: Istio lets it only where bad endpoints are found out, or where
/// shares are written down.
pub(crate) fn localities_matter(traffic: &PortTraffic) -> bool {
    let setting = setting(traffic);
    let enabled = setting.is_none_or(|setting| setting.enabled != Some(false));
    enabled && (traffic.outlier_detection.is_some() || setting.is_some_and(|setting| !setting.distribute.is_empty()))
}

/// Whether endpoints are preferred by where they are, and others take over for them.
pub(crate) fn fails_over(traffic: &PortTraffic) -> bool {
    localities_matter(traffic) && setting(traffic).is_none_or(|setting| setting.distribute.is_empty())
}

fn setting(traffic: &PortTraffic) -> Option<&LocalityLb> {
    traffic.load_balancer.as_ref()?.locality.as_ref()
}

/// Gives groups their priorities or shares.
pub(super) fn arrange<'a>(client: &Audience, traffic: &PortTraffic, groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
    if !localities_matter(traffic) {
        return groups;
    }
    let none = LocalityLb::default();
    let setting = setting(traffic).unwrap_or(&none);
    if !setting.distribute.is_empty() {
        return distribute(client, &setting.distribute, groups);
    }
    if !setting.failover_priority.is_empty() {
        return compact(by_labels(client, &setting.failover_priority, groups));
    }
    compact(by_distance(client, &setting.failover, groups))
}

/// Nearer is better: 0 the same sub-zone, 1 zone, 2 region, 3 the region to fail over to, then the rest.
fn by_distance<'a>(client: &Audience, failover: &[Failover], mut groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
    let here = &client.locality;
    let next = failover.iter().find(|failover| failover.from == here.region).map(|failover| failover.to.as_str());
    for group in &mut groups {
        let there = group.locality;
        group.priority = match (there.region == here.region, there.zone == here.zone, there.sub_zone == here.sub_zone) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, ..) if next.is_none_or(|next| next == there.region) => 3,
            (false, ..) => 4,
        };
    }
    groups
}

/// The more of the labels, from the first on, an endpoint has in common with the client, the better.
fn by_labels<'a>(client: &Audience, labels: &[String], groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
    let mut split: Vec<Group<'a>> = Vec::new();
    for (locality, endpoint) in groups.iter().flat_map(|g| g.endpoints.iter().map(move |e| (g.locality, *e))) {
        let common = labels.iter().take_while(|label| agrees(client, endpoint, label)).count();
        let priority = (labels.len() - common) as u32;
        let weight = endpoint.weight.max(1);
        match split.iter_mut().find(|group| group.locality == locality && group.priority == priority) {
            Some(group) => {
                group.weight += weight;
                group.endpoints.push(endpoint);
            }
            None => split.push(Group { locality, priority, weight, endpoints: vec![endpoint] }),
        }
    }
    split.sort_by_key(|group| group.priority);
    split
}

/// `label`: both have the same value; `label=value`: the endpoint has that value.
fn agrees(client: &Audience, endpoint: &Endpoint, label: &str) -> bool {
    let (key, wanted) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
    let workload = &endpoint.workload;
    let theirs = workload.labels.get(key).map(String::as_str).or_else(|| topology(&workload.locality, key));
    let ours = || client.labels.get(key).map(String::as_str).or_else(|| topology(&client.locality, key));
    theirs == wanted.or_else(ours)
}

/// Localities as the labels that Kubernetes and Istio spell them with.
fn topology<'a>(locality: &'a Locality, key: &str) -> Option<&'a str> {
    let part = match key {
        "topology.kubernetes.io/region" => &locality.region,
        "topology.kubernetes.io/zone" => &locality.zone,
        "topology.istio.io/subzone" => &locality.sub_zone,
        _ => return None,
    };
    Some(part.as_str()).filter(|part| !part.is_empty())
}

/// Shares as written for where the client is; localities without a share get nothing.
fn distribute<'a>(client: &Audience, rules: &[Distribute], groups: Vec<Group<'a>>) -> Vec<Group<'a>> {
    let Some(rule) = rules.iter().find(|rule| matches(&rule.from, &client.locality)) else { return groups };
    let mut kept: Vec<Group<'a>> = Vec::new();
    let mut rest = groups;
    for (to, share) in &rule.to {
        let (mut taken, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|group| matches(to, group.locality));
        rest = others;
        let total: usize = taken.iter().map(|group| group.endpoints.len()).sum();
        for group in &mut taken {
            group.weight = (*share as usize * group.endpoints.len()).div_ceil(total).max(1) as u32;
        }
        kept.extend(taken);
    }
    kept.sort_by_key(|group| group.locality);
    kept
}

/// Whether a pattern (`*`, `eu/*`, `eu/a`, `eu/a/rack1`) covers a locality; parts left out cover all.
fn matches(pattern: &str, locality: &Locality) -> bool {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    pattern.split('/').zip(parts).all(|(wanted, part)| wanted == "*" || wanted == part)
}

/// Priorities without gaps, as Envoy wants them.
fn compact(mut groups: Vec<Group<'_>>) -> Vec<Group<'_>> {
    let mut used: Vec<u32> = groups.iter().map(|group| group.priority).collect();
    used.sort_unstable();
    used.dedup();
    for group in &mut groups {
        group.priority = used.partition_point(|priority| *priority < group.priority) as u32;
    }
    groups.sort_by_key(|group| group.priority);
    groups
}
