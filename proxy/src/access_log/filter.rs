//! Which requests a logger writes down (Envoy `AccessLogFilter`).

use api::cel::Expression;

use super::{LogContext, LogKind, ResponseFlags};
use crate::config::Fraction;
use crate::route::HeaderMatch;

/// One condition, or several.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFilter {
    StatusCode(Comparison),
    /// Milliseconds.
    Duration(Comparison),
    NotHealthCheck,
    /// Requests that were chosen to be traced.
    Traceable,
    /// A share of requests. By the request's id, so that every proxy on its way takes the same ones, or by chance.
    Share {
        fraction: Fraction,
        independent: bool,
    },
    All(Vec<LogFilter>),
    Any(Vec<LogFilter>),
    Header(HeaderMatch),
    /// Any of the flags, or any flag at all.
    Flags(Option<ResponseFlags>),
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
    Kind {
        kinds: Vec<LogKind>,
        exclude: bool,
    },
    /// In CEL. A request of which it has no value is not written.
    Expression(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub op: ComparisonOp,
    pub value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOp {
    Equal,
    AtLeast,
    AtMost,
    NotEqual,
}

impl Comparison {
    fn holds(self, of: u128) -> bool {
        let value = u128::from(self.value);
        match self.op {
            ComparisonOp::Equal => of == value,
            ComparisonOp::AtLeast => of >= value,
            ComparisonOp::AtMost => of <= value,
            ComparisonOp::NotEqual => of != value,
        }
    }
}

impl LogFilter {
    /// Whether the line is written.
    pub fn passes(&self, context: &LogContext<'_>) -> bool {
        let info = context.info;
        match self {
            Self::StatusCode(comparison) => comparison.holds(info.response_code.unwrap_or(0).into()),
            Self::Duration(comparison) => comparison.holds(info.duration.unwrap_or_default().as_millis()),
            Self::NotHealthCheck => !info.health_check,
            Self::Traceable => info.traced,
            Self::Share { fraction, independent } => {
                let of_id = request_number(context).filter(|_| !independent);
                u128::from(of_id.unwrap_or_else(rand::random)) % 1_000_000 < u128::from(fraction.0)
            }
            Self::All(filters) => filters.iter().all(|filter| filter.passes(context)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(context)),
            Self::Header(rule) => match context.request {
                Some(head) => rule.matches(head),
                None => rule.matches_value(None),
            },
            Self::Flags(None) => !info.flags.is_empty(),
            Self::Flags(Some(flags)) => info.flags.intersects(*flags),
            Self::GrpcStatus { statuses, exclude } => {
                statuses.contains(&super::grpc::status_or_mapped(info)) != *exclude
            }
            Self::Kind { kinds, exclude } => kinds.contains(&context.kind) != *exclude,
            Self::Expression(expression) => expression.holds(context),
        }
    }
}

/// The number that a request's id stands for: its first eight hexadecimal digits.
fn request_number(context: &LogContext<'_>) -> Option<u64> {
    let id = context.request?.headers.get_str("x-request-id")?;
    u64::from_str_radix(id.get(..8)?, 16).ok()
}
