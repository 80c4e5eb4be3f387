//! Traffic policies: of a destination, a subset or one port.

use std::time::Duration;

use super::balance;
use super::pool;
use super::{ClientTls, ClientTlsMode, PortPolicy, ProxyProtocol, RetryBudget, TrafficPolicy, Tunnel};
use crate::kinds::Percent;
use crate::reader::{Object, Place};

pub(super) fn read(place: &Place<'_>) -> Option<TrafficPolicy> {
    place.object(|o| {
        if o.is_empty() {
            place.error("must say something; leave it out otherwise");
        }
        o.at_most_one(&["tunnel", "proxyProtocol"]);
        let port_level = o.each("portLevelSettings", |place| place.object(port)?);
        if port_level.len() > 4096 {
            o.error_at("portLevelSettings", "at most 4096");
        }
        let outlier_detection = o.read("outlierDetection", pool::outliers);
        let load_balancer = o.read("loadBalancer", |place| balance::read(place, outlier_detection.is_some()));
        TrafficPolicy {
            load_balancer,
            connection_pool: o.read("connectionPool", pool::read),
            outlier_detection,
            tls: o.read("tls", |place| place.object(tls)),
            port_level,
            tunnel: o.read("tunnel", |place| place.object(tunnel)),
            proxy_protocol: o.read("proxyProtocol", proxy_protocol),
            retry_budget: o.read("retryBudget", |place| place.object(retry_budget)),
        }
    })
}

fn port(o: &Object<'_>) -> Option<PortPolicy> {
    let port = o.required("port").and_then(|place| place.object(|o| o.required("number")?.port())?);
    let outlier_detection = o.read("outlierDetection", pool::outliers);
    let load_balancer = o.read("loadBalancer", |place| balance::read(place, outlier_detection.is_some()));
    Some(PortPolicy {
        load_balancer,
        connection_pool: o.read("connectionPool", pool::read),
        outlier_detection,
        tls: o.read("tls", |place| place.object(tls)),
        port: port?,
    })
}

fn tls(o: &Object<'_>) -> ClientTls {
    const MODES: [(&str, ClientTlsMode); 4] = [
        ("DISABLE", ClientTlsMode::Disable),
        ("SIMPLE", ClientTlsMode::Simple),
        ("MUTUAL", ClientTlsMode::Mutual),
        ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
    ];
    let tls = ClientTls {
        mode: o.choice("mode", &MODES).unwrap_or_default(),
        client_certificate: o.text("clientCertificate"),
        private_key: o.text("privateKey"),
        ca_certificates: o.text("caCertificates"),
        ca_crl: o.text("caCrl"),
        credential_name: o.text("credentialName"),
        subject_alt_names: o.texts("subjectAltNames"),
        sni: o.text("sni"),
        insecure_skip_verify: o.flag_if_set("insecureSkipVerify"),
    };
    check_tls(o, &tls);
    tls
}

fn check_tls(o: &Object<'_>, tls: &ClientTls) {
    const FILES: [&str; 4] = ["clientCertificate", "privateKey", "caCertificates", "caCrl"];
    if tls.insecure_skip_verify == Some(true) && tls.mode == ClientTlsMode::Simple && !tls.subject_alt_names.is_empty()
    {
        o.error_at("subjectAltNames", "cannot be checked when insecureSkipVerify is true");
    }
    if !tls.credential_name.is_empty() && tls.mode != ClientTlsMode::IstioMutual {
        for field in FILES.iter().filter(|field| o.has(field)) {
            o.error_at(field, "cannot be combined with credentialName");
        }
        return;
    }
    match tls.mode {
        ClientTlsMode::Mutual => {
            o.required("clientCertificate");
            o.required("privateKey");
        }
        ClientTlsMode::IstioMutual => {
            for field in FILES.iter().chain(&["credentialName"]).filter(|field| o.has(field)) {
                o.error_at(field, "not allowed with ISTIO_MUTUAL: the workload's own certificate is used");
            }
        }
        _ => {}
    }
}

fn tunnel(o: &Object<'_>) -> Tunnel {
    let protocol = o.choice("protocol", &[("CONNECT", "CONNECT"), ("POST", "POST")]).unwrap_or("CONNECT");
    Tunnel {
        protocol: protocol.to_owned(),
        target_host: o.required_text("targetHost"),
        target_port: o.required("targetPort").and_then(|place| place.port()).unwrap_or_default(),
    }
}

fn proxy_protocol(place: &Place<'_>) -> Option<ProxyProtocol> {
    const VERSIONS: [(&str, ProxyProtocol); 2] = [("V1", ProxyProtocol::V1), ("V2", ProxyProtocol::V2)];
    place.object(|o| o.choice("version", &VERSIONS).unwrap_or(ProxyProtocol::V1))
}

fn retry_budget(o: &Object<'_>) -> RetryBudget {
    RetryBudget {
        percent: o.field("percent").and_then(|place| place.share()).unwrap_or(Percent(20.0)),
        min_retry_concurrency: o.count("minRetryConcurrency").unwrap_or(3),
        budget_interval: o.duration_or_zero("budgetInterval").unwrap_or(Duration::ZERO),
    }
}
