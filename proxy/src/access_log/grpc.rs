//! The names of gRPC's status codes (gRPC, status codes and their use), and what stands in where there is none.

use super::RequestInfo;

/// In camel case and in snake case.
pub(super) fn names(status: u32) -> Option<(&'static str, &'static str)> {
    NAMES.get(usize::try_from(status).ok()?).copied()
}

const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// The status that a gRPC client is left with: the one that was sent, or the one that the HTTP status stands for.
pub fn status(info: &RequestInfo) -> Option<u32> {
    info.grpc_status.or_else(|| info.response_code.map(of_http))
}

pub(super) fn status_or_mapped(info: &RequestInfo) -> u32 {
    status(info).unwrap_or(2)
}

/// The gRPC status that stands for an HTTP status (gRPC, HTTP to gRPC status mapping).
pub fn of_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
