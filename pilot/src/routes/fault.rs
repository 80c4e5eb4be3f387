//! Injected faults.

use api::envoy::extensions::filters::common::fault::v3 as common;
use api::envoy::extensions::filters::http::fault::v3 as fault;
use common::fault_delay::FaultDelaySecifier;
use fault::fault_abort::ErrorType;
use galley::kinds::{Abort, AbortStatus, Delay, Fault};

use crate::wire;

pub(super) const FILTER: &str = "envoy.filters.http.fault";

/// `None` for a fault that does nothing.
pub(super) fn compile(of: &Fault) -> Option<fault::HttpFault> {
    (of.delay.is_some() || of.abort.is_some()).then(|| fault::HttpFault {
        delay: of.delay.as_ref().map(delay),
        abort: of.abort.as_ref().map(abort),
        ..Default::default()
    })
}

fn delay(of: &Delay) -> common::FaultDelay {
    common::FaultDelay {
        percentage: Some(wire::fraction(of.percentage)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(wire::duration(of.fixed))),
    }
}

fn abort(of: &Abort) -> fault::FaultAbort {
    let error = match of.status {
        AbortStatus::Http(status) => ErrorType::HttpStatus(status.into()),
        AbortStatus::Grpc(status) => ErrorType::GrpcStatus(status),
    };
    fault::FaultAbort { percentage: Some(wire::fraction(of.percentage)), error_type: Some(error), ..Default::default() }
}
