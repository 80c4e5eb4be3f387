//! Statistics of gRPC calls.

use std::sync::Arc;

use api::envoy::extensions::filters::http::grpc_stats::v3 as wire;
use wire::filter_config::PerMethodStatSpecifier;

use crate::filter::grpc_stats::{GrpcStats, Methods};

pub fn convert(wire: &wire::FilterConfig) -> Arc<GrpcStats> {
    let methods = match &wire.per_method_stat_specifier {
        Some(PerMethodStatSpecifier::StatsForAllMethods(true)) => Methods::All,
        None | Some(PerMethodStatSpecifier::StatsForAllMethods(false)) => Methods::None,
        Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(list)) => {
            let services = list.services.iter().map(|service| (service.name.clone(), service.method_names.clone()));
            Methods::These(services.collect())
        }
    };
    let replace_dots = wire.replace_dots_in_grpc_service_name;
    Arc::new(GrpcStats { methods, emit_filter_state: wire.emit_filter_state, replace_dots })
}
