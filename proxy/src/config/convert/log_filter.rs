//! Which requests an access logger writes down.

use api::cel::{CelError, Expression};
use api::envoy::config::accesslog::v3 as wire;
use api::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use wire::access_log_filter::FilterSpecifier;
use wire::comparison_filter::Op;

use super::{basics, route_match};
use crate::access_log::{Comparison, ComparisonOp, LogFilter, LogKind, ResponseFlags};
use crate::config::Fraction;
use crate::config::error::{At, ConfigError};

pub(super) fn convert(wire: &wire::AccessLogFilter, at: &At<'_>) -> Result<LogFilter, ConfigError> {
    Ok(match &wire.filter_specifier {
        Some(FilterSpecifier::StatusCodeFilter(filter)) => {
            LogFilter::StatusCode(comparison(filter.comparison.as_ref(), &at.field("status_code_filter"))?)
        }
        Some(FilterSpecifier::DurationFilter(filter)) => {
            LogFilter::Duration(comparison(filter.comparison.as_ref(), &at.field("duration_filter"))?)
        }
        Some(FilterSpecifier::NotHealthCheckFilter(_)) => LogFilter::NotHealthCheck,
        Some(FilterSpecifier::TraceableFilter(_)) => LogFilter::Traceable,
        Some(FilterSpecifier::RuntimeFilter(filter)) => {
            let at = at.field("runtime_filter");
            let at = at.field("percent_sampled");
            let fraction = filter.percent_sampled.as_ref().map(|percent| basics::fraction(percent, &at)).transpose()?;
            LogFilter::Share {
                fraction: fraction.unwrap_or(Fraction(0)),
                independent: filter.use_independent_randomness,
            }
        }
        Some(FilterSpecifier::AndFilter(filter)) => LogFilter::All(several(&filter.filters, &at.field("and_filter"))?),
        Some(FilterSpecifier::OrFilter(filter)) => LogFilter::Any(several(&filter.filters, &at.field("or_filter"))?),
        Some(FilterSpecifier::HeaderFilter(filter)) => {
            let at = at.field("header_filter");
            let at = at.field("header");
            let header = filter.header.as_ref().ok_or_else(|| at.missing())?;
            LogFilter::Header(route_match::header(header, &at)?)
        }
        Some(FilterSpecifier::ResponseFlagFilter(filter)) => {
            LogFilter::Flags(flags(&filter.flags, &at.field("response_flag_filter").field("flags"))?)
        }
        Some(FilterSpecifier::GrpcStatusFilter(filter)) => {
            let statuses = filter.statuses.iter().filter_map(|status| u32::try_from(*status).ok()).collect();
            LogFilter::GrpcStatus { statuses, exclude: filter.exclude }
        }
        Some(FilterSpecifier::LogTypeFilter(filter)) => {
            let at = at.field("log_type_filter");
            let at = at.field("types");
            let kinds = filter.types.iter().enumerate().map(|(index, one)| kind(*one, &at.index(index)));
            LogFilter::Kind { kinds: kinds.collect::<Result<_, _>>()?, exclude: filter.exclude }
        }
        Some(FilterSpecifier::ExtensionFilter(filter)) => extension(filter, &at.field("extension_filter"))?,
        Some(_) => return Err(at.refuse("this filter", "is not supported")),
        None => return Err(at.missing()),
    })
}

/// Of Envoy's extensions, expressions in CEL.
fn extension(wire: &wire::ExtensionFilter, at: &At<'_>) -> Result<LogFilter, ConfigError> {
    let typed = at.field("typed_config");
    let Some(wire::extension_filter::ConfigType::TypedConfig(any)) = &wire.config_type else {
        return Err(typed.missing());
    };
    if !basics::is_a::<ExpressionFilter>(any) {
        return Err(at.refuse(&any.type_url, "of extension filters, that of CEL is supported"));
    }
    let wire: ExpressionFilter = basics::unpack(any, &typed)?;
    let expression = Expression::parse(&wire.expression);
    let refused = |error: CelError| typed.field("expression").refuse(&wire.expression, error.to_string());
    Ok(LogFilter::Expression(expression.map_err(refused)?))
}

fn several(wire: &[wire::AccessLogFilter], at: &At<'_>) -> Result<Vec<LogFilter>, ConfigError> {
    let at = at.field("filters");
    if wire.len() < 2 {
        return Err(at.refuse(wire.len(), "at least two filters are expected"));
    }
    wire.iter().enumerate().map(|(index, one)| convert(one, &at.index(index))).collect()
}

/// There is no runtime, so the default is the value.
fn comparison(wire: Option<&wire::ComparisonFilter>, at: &At<'_>) -> Result<Comparison, ConfigError> {
    let at = at.field("comparison");
    let wire = wire.ok_or_else(|| at.missing())?;
    let op = match Op::try_from(wire.op) {
        Ok(Op::Eq) => ComparisonOp::Equal,
        Ok(Op::Ge) => ComparisonOp::AtLeast,
        Ok(Op::Le) => ComparisonOp::AtMost,
        Ok(Op::Ne) => ComparisonOp::NotEqual,
        Err(_) => return Err(at.field("op").refuse(wire.op, "is not known")),
    };
    let value = wire.value.as_ref().ok_or_else(|| at.field("value").missing())?;
    Ok(Comparison { op, value: value.default_value })
}

fn flags(wire: &[String], at: &At<'_>) -> Result<Option<ResponseFlags>, ConfigError> {
    let mut all = None;
    for (index, name) in wire.iter().enumerate() {
        let flag = ResponseFlags::parse(name).ok_or_else(|| at.index(index).refuse(name, "is not a response flag"))?;
        all = Some(all.unwrap_or(ResponseFlags::NONE) | flag);
    }
    Ok(all)
}

fn kind(wire: i32, at: &At<'_>) -> Result<LogKind, ConfigError> {
    use api::envoy::data::accesslog::v3::AccessLogType as Wire;
    Ok(match Wire::try_from(wire) {
        Ok(Wire::NotSet) => LogKind::NotSet,
        Ok(Wire::TcpUpstreamConnected) => LogKind::TcpUpstreamConnected,
        Ok(Wire::TcpPeriodic) => LogKind::TcpPeriodic,
        Ok(Wire::TcpConnectionEnd) => LogKind::TcpConnectionEnd,
        Ok(Wire::DownstreamStart) => LogKind::DownstreamStart,
        Ok(Wire::DownstreamPeriodic) => LogKind::DownstreamPeriodic,
        Ok(Wire::DownstreamEnd) => LogKind::DownstreamEnd,
        Ok(Wire::DownstreamTunnelSuccessfullyEstablished) => LogKind::DownstreamTunnelSuccessfullyEstablished,
        _ => return Err(at.refuse(wire, "no log of this kind is written here")),
    })
}
