//! Load balancing policies: `lb_policy` with its settings, and the same as an extension.

use std::time::Duration;

use api::envoy::config::cluster::v3 as wire;
use api::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use api::envoy::extensions::load_balancing_policies as typed;
use api::envoy::r#type::v3::Percent;
use api::prost_types::Any;
use typed::common::v3::locality_lb_config::LocalityConfigSpecifier;
use wire::cluster::{ClusterDiscoveryType, LbConfig, LbPolicy as WireLbPolicy};

use super::basics;
use crate::config::error::{At, ConfigError};
use crate::config::{Choices, HashFunction, LbPolicy, RingHash, SlowStart};

/// The policy, and whether the weights of localities count.
pub(super) fn convert(wire: &wire::Cluster, at: &At<'_>) -> Result<(LbPolicy, bool), ConfigError> {
    match &wire.load_balancing_policy {
        Some(policy) => extension(policy, &at.field("load_balancing_policy")),
        None => Ok((named(wire, at)?, locality_weighted(wire))),
    }
}

fn locality_weighted(wire: &wire::Cluster) -> bool {
    use wire::cluster::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig;
    let specifier = wire.common_lb_config.as_ref().and_then(|common| common.locality_config_specifier.as_ref());
    matches!(specifier, Some(LocalityWeightedLbConfig(_)))
}

fn named(wire: &wire::Cluster, at: &At<'_>) -> Result<LbPolicy, ConfigError> {
    const ORIGINAL: i32 = wire::cluster::DiscoveryType::OriginalDst as i32;
    let provided = match &wire.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => *kind == ORIGINAL,
        Some(ClusterDiscoveryType::ClusterType(_)) => true,
        None => false,
    };
    let hashing = wire.common_lb_config.as_ref().and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let by_hostname = hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing);
    let policy = WireLbPolicy::try_from(wire.lb_policy);
    if provided != (policy == Ok(WireLbPolicy::ClusterProvided)) {
        let rule =
            "CLUSTER_PROVIDED is the policy of ORIGINAL_DST and dynamic forward proxy clusters, and theirs alone";
        return Err(at.field("lb_policy").refuse(wire.lb_policy, rule));
    }
    match policy {
        Ok(WireLbPolicy::RoundRobin | WireLbPolicy::ClusterProvided) => {
            let at = at.field("round_robin_lb_config");
            let config = match &wire.lb_config {
                Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config.as_ref(),
                _ => None,
            };
            Ok(LbPolicy::RoundRobin { slow_start: config.map_or(Ok(None), |config| old_slow_start(config, &at))? })
        }
        Ok(WireLbPolicy::LeastRequest) => {
            let at = at.field("least_request_lb_config");
            let Some(LbConfig::LeastRequestLbConfig(config)) = &wire.lb_config else { return least(None, None, &at) };
            let slow = config.slow_start_config.as_ref().map_or(Ok(None), |slow| old_slow_start(slow, &at))?;
            let policy = least(config.choice_count, config.active_request_bias.as_ref(), &at)?;
            Ok(with_slow_start(policy, slow))
        }
        Ok(WireLbPolicy::Random) => Ok(LbPolicy::Random),
        Ok(WireLbPolicy::RingHash) => {
            let at = at.field("ring_hash_lb_config");
            let config = match &wire.lb_config {
                Some(LbConfig::RingHashLbConfig(config)) => *config,
                _ => Default::default(),
            };
            use wire::cluster::ring_hash_lb_config::HashFunction as Wire;
            let murmur = config.hash_function == Wire::MurmurHash2 as i32;
            ring((config.minimum_ring_size, config.maximum_ring_size), murmur, by_hostname, &at)
        }
        Ok(WireLbPolicy::Maglev) => {
            let size = match &wire.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size,
                _ => None,
            };
            maglev(size, by_hostname, &at.field("maglev_lb_config"))
        }
        Ok(other) => {
            let rule = "ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH and MAGLEV are supported";
            Err(at.field("lb_policy").refuse(other.as_str_name(), rule))
        }
        Err(_) => Err(at.field("lb_policy").refuse(wire.lb_policy, "is not known")),
    }
}

/// The first policy of the list is taken: all that pass the check of fields are known.
fn extension(wire: &wire::LoadBalancingPolicy, at: &At<'_>) -> Result<(LbPolicy, bool), ConfigError> {
    let at = at.field("policies");
    let at = at.index(0);
    let at = at.field("typed_extension_config");
    let Some(TypedExtensionConfig { typed_config: Some(any), .. }) =
        wire.policies.first().and_then(|policy| policy.typed_extension_config.as_ref())
    else {
        return Err(at.missing());
    };
    typed(any, &at.field("typed_config"))
}

fn typed(any: &Any, at: &At<'_>) -> Result<(LbPolicy, bool), ConfigError> {
    if basics::is_a::<typed::wrr_locality::v3::WrrLocality>(any) {
        let wire: typed::wrr_locality::v3::WrrLocality = basics::unpack(any, at)?;
        let at = at.field("endpoint_picking_policy");
        let inner = wire.endpoint_picking_policy.ok_or_else(|| at.missing())?;
        return Ok((extension(&inner, &at)?.0, true));
    }
    if basics::is_a::<typed::round_robin::v3::RoundRobin>(any) {
        let wire: typed::round_robin::v3::RoundRobin = basics::unpack(any, at)?;
        let policy = LbPolicy::RoundRobin { slow_start: slow_start(wire.slow_start_config.as_ref(), at)? };
        return Ok((policy, by_locality(wire.locality_lb_config.as_ref())));
    }
    if basics::is_a::<typed::least_request::v3::LeastRequest>(any) {
        return typed_least(&basics::unpack(any, at)?, at);
    }
    if basics::is_a::<typed::random::v3::Random>(any) {
        let wire: typed::random::v3::Random = basics::unpack(any, at)?;
        return Ok((LbPolicy::Random, by_locality(wire.locality_lb_config.as_ref())));
    }
    if basics::is_a::<typed::ring_hash::v3::RingHash>(any) {
        let wire: typed::ring_hash::v3::RingHash = basics::unpack(any, at)?;
        let murmur = wire.hash_function == typed::ring_hash::v3::ring_hash::HashFunction::MurmurHash2 as i32;
        let by_hostname = wire.consistent_hashing_lb_config.is_some_and(|hashing| hashing.use_hostname_for_hashing);
        let policy = ring((wire.minimum_ring_size, wire.maximum_ring_size), murmur, by_hostname, at)?;
        return Ok((policy, wire.locality_weighted_lb_config.is_some()));
    }
    if basics::is_a::<typed::maglev::v3::Maglev>(any) {
        let wire: typed::maglev::v3::Maglev = basics::unpack(any, at)?;
        let by_hostname = wire.consistent_hashing_lb_config.is_some_and(|hashing| hashing.use_hostname_for_hashing);
        return Ok((maglev(wire.table_size, by_hostname, at)?, wire.locality_weighted_lb_config.is_some()));
    }
    Err(at.refuse(&any.type_url, "is not a load balancing policy that is supported"))
}

fn by_locality(wire: Option<&typed::common::v3::LocalityLbConfig>) -> bool {
    let specifier = wire.and_then(|wire| wire.locality_config_specifier.as_ref());
    matches!(specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)))
}

fn typed_least(wire: &typed::least_request::v3::LeastRequest, at: &At<'_>) -> Result<(LbPolicy, bool), ConfigError> {
    use typed::least_request::v3::least_request::SelectionMethod;
    let policy = least(wire.choice_count, wire.active_request_bias.as_ref(), at)?;
    let policy = with_slow_start(policy, slow_start(wire.slow_start_config.as_ref(), at)?);
    let policy = match (policy, SelectionMethod::try_from(wire.selection_method)) {
        (LbPolicy::LeastRequest { bias, slow_start, .. }, Ok(SelectionMethod::FullScan)) => {
            LbPolicy::LeastRequest { choices: Choices::All, bias, slow_start }
        }
        (policy, Ok(SelectionMethod::NChoices)) => policy,
        (_, _) => return Err(at.field("selection_method").refuse(wire.selection_method, "is not known")),
    };
    Ok((policy, by_locality(wire.locality_lb_config.as_ref())))
}

fn least(choices: Option<u32>, bias: Option<&RuntimeDouble>, at: &At<'_>) -> Result<LbPolicy, ConfigError> {
    let choices = choices.unwrap_or(2);
    if choices < 2 {
        return Err(at.field("choice_count").refuse(choices, "is at least 2"));
    }
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    if !bias.is_finite() || bias < 0.0 {
        return Err(at.field("active_request_bias").refuse(bias, "is not negative"));
    }
    Ok(LbPolicy::LeastRequest { choices: Choices::Some(choices), bias, slow_start: None })
}

fn with_slow_start(policy: LbPolicy, slow_start: Option<SlowStart>) -> LbPolicy {
    match policy {
        LbPolicy::LeastRequest { choices, bias, .. } => LbPolicy::LeastRequest { choices, bias, slow_start },
        other => other,
    }
}

const LARGEST_RING: u64 = 8 * 1024 * 1024;

fn ring(
    (minimum, maximum): (Option<u64>, Option<u64>),
    murmur: bool,
    by_hostname: bool,
    at: &At<'_>,
) -> Result<LbPolicy, ConfigError> {
    let (minimum, maximum) = (minimum.unwrap_or(1024), maximum.unwrap_or(LARGEST_RING));
    if maximum > LARGEST_RING {
        return Err(at.field("maximum_ring_size").refuse(maximum, format!("is at most {LARGEST_RING}")));
    }
    if minimum == 0 || minimum > maximum {
        return Err(at.field("minimum_ring_size").refuse(minimum, "is at least 1 and at most the maximum"));
    }
    let function = if murmur { HashFunction::Murmur2 } else { HashFunction::XxHash };
    Ok(LbPolicy::RingHash(RingHash { minimum, maximum, function, by_hostname }))
}

fn maglev(size: Option<u64>, by_hostname: bool, at: &At<'_>) -> Result<LbPolicy, ConfigError> {
    const LARGEST: u64 = 5_000_011;
    let table_size = size.unwrap_or(65537);
    if table_size > LARGEST || !is_prime(table_size) {
        return Err(at.field("table_size").refuse(table_size, format!("is a prime of at most {LARGEST}")));
    }
    Ok(LbPolicy::Maglev { table_size, by_hostname })
}

fn is_prime(number: u64) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn old_slow_start(wire: &wire::cluster::SlowStartConfig, at: &At<'_>) -> Result<Option<SlowStart>, ConfigError> {
    let settings = (wire.slow_start_window.as_ref(), wire.aggression.as_ref(), wire.min_weight_percent.as_ref());
    slow_start_of(settings, &at.field("slow_start_config"))
}

fn slow_start(
    wire: Option<&typed::common::v3::SlowStartConfig>,
    at: &At<'_>,
) -> Result<Option<SlowStart>, ConfigError> {
    let Some(wire) = wire else { return Ok(None) };
    let settings = (wire.slow_start_window.as_ref(), wire.aggression.as_ref(), wire.min_weight_percent.as_ref());
    slow_start_of(settings, &at.field("slow_start_config"))
}

fn slow_start_of(
    (window, aggression, least): (Option<&basics::Wire>, Option<&RuntimeDouble>, Option<&Percent>),
    at: &At<'_>,
) -> Result<Option<SlowStart>, ConfigError> {
    let window = basics::duration(window, Duration::ZERO, &at.field("slow_start_window"))?;
    let aggression = aggression.map_or(1.0, |aggression| aggression.default_value);
    if !aggression.is_finite() || aggression <= 0.0 {
        return Err(at.field("aggression").refuse(aggression, "is more than 0"));
    }
    let least = least.map_or(10.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&least) {
        return Err(at.field("min_weight_percent").refuse(least, "is from 0 to 100"));
    }
    Ok((!window.is_zero()).then_some(SlowStart { window, aggression, least: least / 100.0 }))
}
