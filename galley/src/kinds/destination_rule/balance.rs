//! Load balancing: the algorithm, locality preference and warm-up.

use super::{
    ConsistentHash, Distribute, Failover, HashCookie, HashKey, HashRing, LbAlgorithm, LoadBalancer, LocalityLb,
    SimpleLb, Warmup, ZoneAware,
};
use crate::diagnostic::code;
use crate::reader::{Object, Place};

const SIMPLE: [(&str, SimpleLb); 6] = [
    ("UNSPECIFIED", SimpleLb::LeastRequest),
    ("LEAST_CONN", SimpleLb::LeastRequest),
    ("LEAST_REQUEST", SimpleLb::LeastRequest),
    ("ROUND_ROBIN", SimpleLb::RoundRobin),
    ("RANDOM", SimpleLb::Random),
    ("PASSTHROUGH", SimpleLb::Passthrough),
];

/// `ejects` says whether outlier detection is on beside it, without which failover never happens.
pub(super) fn read(place: &Place<'_>, ejects: bool) -> Option<LoadBalancer> {
    place.object(|o| {
        o.at_most_one(&["simple", "consistentHash"]);
        o.at_most_one(&["localityLbSetting", "zoneAwareLbSetting"]);
        let simple = o.read("simple", |place| {
            if place.node.as_text() == Some("LEAST_CONN") {
                place.warn(code::DEPRECATED, "LEAST_CONN is deprecated; use LEAST_REQUEST");
            }
            place.choice(&SIMPLE)
        });
        let hash = o.read("consistentHash", |place| place.object(consistent_hash)?);
        let algorithm = hash.map_or(LbAlgorithm::Simple(simple.unwrap_or_default()), LbAlgorithm::ConsistentHash);
        LoadBalancer {
            warmup: warmup(o, &algorithm),
            algorithm,
            locality: o.read("localityLbSetting", |place| place.object(|o| locality(o, ejects))),
            zone_aware: o.read("zoneAwareLbSetting", |place| place.object(zone_aware)),
        }
    })
}

fn consistent_hash(o: &Object<'_>) -> Option<ConsistentHash> {
    const KEYS: [&str; 4] = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"];
    o.at_most_one(&KEYS);
    o.at_least_one(&KEYS);
    let key = o
        .read("httpHeaderName", |place| non_empty(place).map(HashKey::Header))
        .or(o.read("httpQueryParameterName", |place| non_empty(place).map(HashKey::QueryParameter)))
        .or(o.read("httpCookie", |place| place.object(cookie).map(HashKey::Cookie)))
        .or(o.flag_if_set("useSourceIp").map(|_| HashKey::SourceIp));
    Some(ConsistentHash { ring: ring(o), key: key? })
}

fn non_empty(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    if text.is_empty() {
        place.error("must not be empty");
    }
    Some(text)
}

fn cookie(o: &Object<'_>) -> HashCookie {
    HashCookie {
        name: o.required_text("name"),
        path: o.text("path"),
        ttl: o.duration_or_zero("ttl"),
        attributes: o.each("attributes", |place| place.object(|o| (o.required_text("name"), o.text("value")))),
    }
}

fn ring(o: &Object<'_>) -> HashRing {
    o.at_most_one(&["ringHash", "maglev"]);
    o.deprecated("minimumRingSize", "ringHash.minimumRingSize");
    let size = |place: &Place<'_>| place.within(0, i64::MAX).and_then(|size| u64::try_from(size).ok());
    let deprecated = o.read("minimumRingSize", size);
    let maglev = o.read("maglev", |place| {
        place.object(|o| {
            let table_size = o.read("tableSize", size).unwrap_or(65_537);
            if !is_prime(table_size) || table_size >= 5_000_011 {
                o.error_at("tableSize", "must be a prime number below 5000011");
            }
            HashRing::Maglev { table_size }
        })
    });
    let ring_hash = o.read("ringHash", |place| place.object(|o| o.read("minimumRingSize", size)));
    let minimum_size = ring_hash.flatten().or(deprecated).filter(|size| *size > 0).unwrap_or(1024);
    maglev.unwrap_or(HashRing::RingHash { minimum_size })
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|n| n * n <= number.min(5_000_011)).all(|n| !number.is_multiple_of(n))
}

fn warmup(o: &Object<'_>, algorithm: &LbAlgorithm) -> Option<Warmup> {
    o.at_most_one(&["warmup", "warmupDurationSecs"]);
    o.deprecated("warmupDurationSecs", "warmup.duration");
    let old = o.duration("warmupDurationSecs");
    let old = old.map(|duration| Warmup { duration, minimum_percent: 10.0, aggression: 1.0 });
    let warmup = o.read("warmup", |place| {
        place.object(|o| {
            let aggression = o.field("aggression").and_then(|place| place.number()).unwrap_or(1.0);
            if aggression < 1.0 {
                o.error_at("aggression", "must be at least 1");
            }
            Warmup {
                duration: o.required("duration").and_then(|place| place.duration()).unwrap_or_default(),
                minimum_percent: o
                    .field("minimumPercent")
                    .and_then(|place| place.share())
                    .map_or(10.0, |share| share.0),
                aggression,
            }
        })
    });
    let fits = matches!(algorithm, LbAlgorithm::Simple(SimpleLb::RoundRobin | SimpleLb::LeastRequest));
    if !fits && (o.has("warmup") || o.has("warmupDurationSecs")) {
        o.error_at("warmup", "only with ROUND_ROBIN and LEAST_REQUEST");
    }
    warmup.or(old)
}

fn locality(o: &Object<'_>, ejects: bool) -> LocalityLb {
    o.at_most_one(&["distribute", "failover"]);
    o.at_most_one(&["distribute", "failoverPriority"]);
    for field in ["failover", "failoverPriority"] {
        if o.has(field) && !ejects {
            o.warn_at(code::SCHEMA_WARNING, field, "has no effect without outlierDetection");
        }
    }
    let distribute = o.each("distribute", |place| place.object(distribute));
    let from: Vec<_> = distribute.iter().map(|entry| entry.from.as_str()).collect();
    if overlaps(&from) {
        o.error_at("distribute", "the localities in \"from\" overlap");
    }
    LocalityLb {
        enabled: o.flag_if_set("enabled"),
        distribute,
        failover: failover(o),
        failover_priority: o.texts("failoverPriority"),
    }
}

fn distribute(o: &Object<'_>) -> Distribute {
    let from = o.required_text("from");
    let to = o.required("to");
    let entries = to.as_ref().map(Place::entries).unwrap_or_default();
    let weight =
        |(name, place): &(&str, Place<'_>)| Some(((*name).to_owned(), u32::try_from(place.within(1, 100)?).ok()?));
    let to: std::collections::BTreeMap<_, _> = entries.iter().filter_map(weight).collect();
    let sum: u32 = to.values().sum();
    if sum != 100 {
        o.error_at("to", format!("the weights must make 100, not {sum}"));
    }
    if overlaps(&to.keys().map(String::as_str).collect::<Vec<_>>()) {
        o.error_at("to", "the localities overlap");
    }
    Distribute { from, to }
}

/// Whether one of the localities is another, or contains it.
fn overlaps(localities: &[&str]) -> bool {
    let within = |outer: &str, inner: &str| {
        let outer = outer.trim_end_matches('*').trim_end_matches('/');
        outer.is_empty() || inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    let pairs = localities.iter().enumerate();
    pairs.into_iter().any(|(index, a)| localities[index + 1..].iter().any(|b| within(a, b) || within(b, a)))
}

fn failover(o: &Object<'_>) -> Vec<Failover> {
    o.each("failover", |place| {
        place.object(|o| {
            let failover = Failover { from: o.required_text("from"), to: o.required_text("to") };
            if failover.from == failover.to {
                o.error_at("to", "must differ from \"from\"");
            }
            for (field, region) in [("from", &failover.from), ("to", &failover.to)] {
                if region.contains(['/', '*']) {
                    o.error_at(field, "a region only: no zone and no wildcard");
                }
            }
            failover
        })
    })
}

fn zone_aware(o: &Object<'_>) -> ZoneAware {
    let failover_priority = o.each("failoverPriority", |place| {
        let label = place.text()?;
        if label.starts_with("topology.") {
            place.error("labels of the topology are already taken into account");
        }
        Some(label)
    });
    ZoneAware {
        enabled: o.flag_if_set("enabled"),
        failover: failover(o),
        failover_priority,
        min_cluster_size: o.count("minClusterSize"),
    }
}
