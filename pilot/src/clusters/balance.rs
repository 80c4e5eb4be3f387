//! How a cluster picks among its endpoints, and which it leaves out for a while.

use std::time::Duration;

use api::envoy::config::cluster::v3 as cluster;
use api::envoy::config::core::v3 as core;
use api::envoy::r#type::v3::Percent;
use cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig, common_lb_config,
};
use galley::kinds::{HashRing, LbAlgorithm, LoadBalancer, OutlierDetection, SimpleLb, Warmup};

use super::Target;
use crate::diagnostic::{Code, Findings};
use crate::endpoints::localities_matter;
use crate::node::Features;
use crate::wire;

pub(super) fn apply(target: &Target<'_>, cluster: &mut cluster::Cluster, findings: &mut Findings) {
    let balancer = target.traffic.load_balancer.as_ref();
    let features = target.view.audience.features;
    let (policy, config) = pick(balancer, features);
    cluster.lb_policy = policy as i32;
    cluster.lb_config = config;
    let outliers = target.traffic.outlier_detection.as_ref();
    cluster.outlier_detection = outliers.map(outlier_detection);
    cluster.common_lb_config = common(target, outliers);
    complain(target, findings);
}

/// Tells what of the rule is not done.
fn complain(target: &Target<'_>, findings: &mut Findings) {
    let Some(object) = target.rule_name() else { return };
    let mut unsupported = |message: &str| findings.add(Code::Unsupported, object.clone(), message);
    let features = target.view.audience.features;
    if let Some(balancer) = &target.traffic.load_balancer {
        match &balancer.algorithm {
            LbAlgorithm::Simple(SimpleLb::Passthrough) => {
                unsupported("PASSTHROUGH needs captured connections; endpoints are chosen by LEAST_REQUEST instead");
            }
            LbAlgorithm::ConsistentHash(_) if !features.consistent_hash => {
                unsupported("this proxy cannot hash consistently yet; endpoints are chosen by LEAST_REQUEST instead");
            }
            _ => {}
        }
        if balancer.warmup.is_some() && !features.slow_start {
            unsupported("this proxy cannot warm endpoints up yet; new ones get their whole share at once");
        }
    }
    let outliers = target.traffic.outlier_detection.as_ref();
    if outliers.is_some_and(|outliers| !outliers.http_error_codes.is_empty()) {
        unsupported("outlierDetectionHttpErrorCodes is not applied; 5xx counts as an error");
    }
    if target.traffic.load_balancer.as_ref().is_some_and(|balancer| balancer.zone_aware.is_some()) {
        unsupported("zoneAwareLbSetting is not applied; name localities in localityLbSetting");
    }
}

fn pick(balancer: Option<&LoadBalancer>, features: Features) -> (LbPolicy, Option<LbConfig>) {
    let warmup = balancer.and_then(|lb| lb.warmup.as_ref()).filter(|_| features.slow_start);
    let slow_start = warmup.map(slow_start);
    match balancer.map(|lb| &lb.algorithm) {
        Some(LbAlgorithm::Simple(SimpleLb::RoundRobin)) => {
            let config = slow_start.map(|slow_start| RoundRobinLbConfig { slow_start_config: Some(slow_start) });
            (LbPolicy::RoundRobin, config.map(LbConfig::RoundRobinLbConfig))
        }
        Some(LbAlgorithm::Simple(SimpleLb::Random)) => (LbPolicy::Random, None),
        Some(LbAlgorithm::ConsistentHash(hash)) if features.consistent_hash => match hash.ring {
            HashRing::RingHash { minimum_size } => {
                let config = RingHashLbConfig { minimum_ring_size: Some(minimum_size), ..Default::default() };
                (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
            }
            HashRing::Maglev { table_size } => {
                let config = MaglevLbConfig { table_size: Some(table_size) };
                (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config)))
            }
        },
        Some(LbAlgorithm::Simple(SimpleLb::LeastRequest | SimpleLb::Passthrough) | LbAlgorithm::ConsistentHash(_))
        | None => {
            let config = slow_start
                .map(|slow_start| LeastRequestLbConfig { slow_start_config: Some(slow_start), ..Default::default() });
            (LbPolicy::LeastRequest, config.map(LbConfig::LeastRequestLbConfig))
        }
    }
}

fn slow_start(warmup: &Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(wire::duration(warmup.duration)),
        aggression: Some(core::RuntimeDouble { default_value: warmup.aggression, ..Default::default() }),
        min_weight_percent: Some(Percent { value: warmup.minimum_percent }),
    }
}

/// Istio turns the success-rate kinds off; zero turns a counted kind off.
fn outlier_detection(of: &OutlierDetection) -> cluster::OutlierDetection {
    let enforced = |count: Option<u32>| count.map(|count| if count > 0 { 100 } else { 0 });
    let counted = |count: Option<u32>| count.filter(|count| *count > 0);
    let time = |time: Option<Duration>| time.map(wire::duration);
    cluster::OutlierDetection {
        consecutive_5xx: counted(of.consecutive_5xx_errors),
        enforcing_consecutive_5xx: enforced(of.consecutive_5xx_errors),
        consecutive_gateway_failure: counted(of.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforced(of.consecutive_gateway_errors),
        split_external_local_origin_errors: of.split_external_local_origin_errors,
        consecutive_local_origin_failure: counted(of.consecutive_local_origin_failures),
        enforcing_consecutive_local_origin_failure: enforced(of.consecutive_local_origin_failures),
        enforcing_success_rate: Some(0),
        enforcing_local_origin_success_rate: of.split_external_local_origin_errors.then_some(0),
        interval: time(of.interval),
        base_ejection_time: time(of.base_ejection_time),
        max_ejection_percent: of.max_ejection_percent,
        ..Default::default()
    }
}

fn common(target: &Target<'_>, outliers: Option<&OutlierDetection>) -> Option<CommonLbConfig> {
    use common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    let weighted = localities_matter(&target.traffic)
        .then_some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}));
    (outliers.is_some() || weighted.is_some()).then(|| CommonLbConfig {
        // Without it Envoy would send to ejected endpoints once half of them are.
        healthy_panic_threshold: outliers.map(|outliers| Percent { value: outliers.min_health_percent.into() }),
        locality_config_specifier: weighted,
        ..Default::default()
    })
}
