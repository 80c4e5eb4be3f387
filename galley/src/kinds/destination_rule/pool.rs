//! Connection pools and outlier detection.

use super::{ConnectionPool, H2Upgrade, HttpPool, KeepAlive, OutlierDetection, TcpKeepalive, TcpPool};
use crate::reader::{Object, Place};

pub(super) fn read(place: &Place<'_>) -> Option<ConnectionPool> {
    place.object(|o| {
        o.at_least_one(&["tcp", "http"]);
        ConnectionPool {
            tcp: o.read("tcp", |place| place.object(tcp)),
            http: o.read("http", |place| place.object(http)),
        }
    })
}

fn tcp(o: &Object<'_>) -> TcpPool {
    TcpPool {
        max_connections: o.positive("maxConnections"),
        connect_timeout: o.duration("connectTimeout"),
        keepalive: o.read("tcpKeepalive", |place| place.object(keepalive)),
        max_connection_duration: o.duration("maxConnectionDuration"),
        idle_timeout: o.duration_or_zero("idleTimeout"),
    }
}

fn keepalive(o: &Object<'_>) -> TcpKeepalive {
    TcpKeepalive { probes: o.positive("probes"), time: o.duration("time"), interval: o.duration("interval") }
}

fn http(o: &Object<'_>) -> HttpPool {
    const UPGRADES: [(&str, H2Upgrade); 3] =
        [("DEFAULT", H2Upgrade::Default), ("DO_NOT_UPGRADE", H2Upgrade::DoNotUpgrade), ("UPGRADE", H2Upgrade::Upgrade)];
    let pool = HttpPool {
        http1_max_pending_requests: o.positive("http1MaxPendingRequests"),
        http2_max_requests: o.positive("http2MaxRequests"),
        max_requests_per_connection: o.positive("maxRequestsPerConnection"),
        max_retries: o.positive("maxRetries"),
        idle_timeout: o.duration_or_zero("idleTimeout"),
        h2_upgrade: o.choice("h2UpgradePolicy", &UPGRADES).unwrap_or_default(),
        use_client_protocol: o.flag("useClientProtocol"),
        max_concurrent_streams: o.positive("maxConcurrentStreams"),
        http2_keep_alive: o.read("http2KeepAlive", |place| place.object(http2_keep_alive)),
    };
    if pool.use_client_protocol && pool.h2_upgrade == H2Upgrade::Upgrade {
        o.error_at("useClientProtocol", "cannot be combined with h2UpgradePolicy UPGRADE");
    }
    pool
}

fn http2_keep_alive(o: &Object<'_>) -> KeepAlive {
    KeepAlive {
        interval: o.required("interval").and_then(|place| place.duration()).unwrap_or_default(),
        timeout: o.required("timeout").and_then(|place| place.duration()).unwrap_or_default(),
    }
}

pub(super) fn outliers(place: &Place<'_>) -> Option<OutlierDetection> {
    place.object(|o| {
        o.deprecated("consecutiveErrors", "consecutive5xxErrors");
        let deprecated = o.count("consecutiveErrors");
        let split = o.flag("splitExternalLocalOriginErrors");
        let local = o.count("consecutiveLocalOriginFailures");
        if local.is_some_and(|count| count > 0) && !split {
            o.error_at("consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors: true");
        }
        OutlierDetection {
            consecutive_5xx_errors: o.count("consecutive5xxErrors").or(deprecated),
            consecutive_gateway_errors: o.count("consecutiveGatewayErrors"),
            split_external_local_origin_errors: split,
            consecutive_local_origin_failures: local,
            interval: o.duration("interval"),
            base_ejection_time: o.duration("baseEjectionTime"),
            max_ejection_percent: percent(o, "maxEjectionPercent"),
            min_health_percent: percent(o, "minHealthPercent").unwrap_or_default(),
            http_error_codes: o.each("outlierDetectionHttpErrorCodes", |place| {
                place.within(100, 599).and_then(|status| u16::try_from(status).ok())
            }),
        }
    })
}

fn percent(o: &Object<'_>, name: &'static str) -> Option<u32> {
    o.read(name, |place| place.within(0, 100)).and_then(|percent| u32::try_from(percent).ok())
}
