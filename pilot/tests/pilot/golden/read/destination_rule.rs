//! DestinationRules of a case.

use galley::kinds::{
    ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, DestinationRule, Distribute, Failover, H2Upgrade,
    HashCookie, HashKey, HashRing, HttpPool, LbAlgorithm, LoadBalancer, LocalityLb, OutlierDetection, PortPolicy,
    SimpleLb, Subset, TcpPool, TrafficPolicy, Warmup,
};
use serde_json::Value;

use super::value::Fields;

pub fn read(spec: &Value, namespace: &str) -> DestinationRule {
    let subsets = spec.list("subsets").into_iter().map(|subset| Subset {
        name: subset.text("name"),
        labels: subset.labels("labels"),
        traffic_policy: subset.some("trafficPolicy").map(traffic_policy),
    });
    DestinationRule {
        host: spec.text("host"),
        traffic_policy: spec.some("trafficPolicy").map(traffic_policy),
        subsets: subsets.collect(),
        export_to: spec.export_to(namespace),
        workload_selector: spec.some("workloadSelector").map(|selector| selector.labels("matchLabels")),
    }
}

fn traffic_policy(of: &Value) -> TrafficPolicy {
    let ports = of.list("portLevelSettings").into_iter().map(|level| {
        let policy = traffic_policy(level);
        PortPolicy {
            port: level.at("port").port("number").unwrap(),
            load_balancer: policy.load_balancer,
            connection_pool: policy.connection_pool,
            outlier_detection: policy.outlier_detection,
            tls: policy.tls,
        }
    });
    TrafficPolicy {
        load_balancer: of.some("loadBalancer").map(load_balancer),
        connection_pool: of.some("connectionPool").map(connection_pool),
        outlier_detection: of.some("outlierDetection").map(outlier_detection),
        tls: of.some("tls").map(tls),
        port_level: ports.collect(),
        ..TrafficPolicy::default()
    }
}

fn load_balancer(of: &Value) -> LoadBalancer {
    let simple = match of.text("simple").as_str() {
        "ROUND_ROBIN" => SimpleLb::RoundRobin,
        "RANDOM" => SimpleLb::Random,
        "PASSTHROUGH" => SimpleLb::Passthrough,
        _ => SimpleLb::LeastRequest,
    };
    let hash = of.some("consistentHash").map(consistent_hash).map(LbAlgorithm::ConsistentHash);
    LoadBalancer {
        algorithm: hash.unwrap_or(LbAlgorithm::Simple(simple)),
        locality: of.some("localityLbSetting").map(locality),
        zone_aware: None,
        warmup: of.some("warmup").map(|warmup| Warmup {
            duration: warmup.duration("duration").unwrap(),
            minimum_percent: 10.0,
            aggression: 1.0,
        }),
    }
}

fn consistent_hash(of: &Value) -> ConsistentHash {
    let cookie = of.some("httpCookie").map(|cookie| {
        HashKey::Cookie(HashCookie {
            name: cookie.text("name"),
            path: cookie.text("path"),
            ttl: cookie.duration("ttl"),
            attributes: vec![],
        })
    });
    let maglev = of.some("maglev").map(|_| HashRing::Maglev { table_size: 65537 });
    ConsistentHash {
        key: cookie.or_else(|| of.some_text("httpHeaderName").map(HashKey::Header)).unwrap_or(HashKey::SourceIp),
        ring: maglev.unwrap_or(HashRing::RingHash { minimum_size: 1024 }),
    }
}

fn locality(of: &Value) -> LocalityLb {
    let distribute = of.list("distribute").into_iter().map(|rule| Distribute {
        from: rule.text("from"),
        to: rule.at("to").as_object().unwrap().iter().map(|(to, w)| (to.clone(), w.as_u64().unwrap() as u32)).collect(),
    });
    let failover = of.list("failover").into_iter();
    LocalityLb {
        enabled: of.at("enabled").as_bool(),
        distribute: distribute.collect(),
        failover: failover.map(|rule| Failover { from: rule.text("from"), to: rule.text("to") }).collect(),
        failover_priority: of.texts("failoverPriority"),
    }
}

fn connection_pool(of: &Value) -> ConnectionPool {
    let tcp = of.some("tcp").map(|tcp| TcpPool {
        max_connections: tcp.number("maxConnections"),
        connect_timeout: tcp.duration("connectTimeout"),
        ..TcpPool::default()
    });
    let http = of.some("http").map(|http| HttpPool {
        http1_max_pending_requests: http.number("http1MaxPendingRequests"),
        http2_max_requests: http.number("http2MaxRequests"),
        max_requests_per_connection: http.number("maxRequestsPerConnection"),
        max_retries: http.number("maxRetries"),
        h2_upgrade: if http.text("h2UpgradePolicy") == "UPGRADE" { H2Upgrade::Upgrade } else { H2Upgrade::Default },
        ..HttpPool::default()
    });
    ConnectionPool { tcp, http }
}

fn outlier_detection(of: &Value) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx_errors: of.number("consecutive5xxErrors"),
        consecutive_gateway_errors: of.number("consecutiveGatewayErrors"),
        interval: of.duration("interval"),
        base_ejection_time: of.duration("baseEjectionTime"),
        max_ejection_percent: of.number("maxEjectionPercent"),
        min_health_percent: of.number("minHealthPercent").unwrap_or_default(),
        ..OutlierDetection::default()
    }
}

fn tls(of: &Value) -> ClientTls {
    ClientTls {
        mode: match of.text("mode").as_str() {
            "SIMPLE" => ClientTlsMode::Simple,
            "MUTUAL" => ClientTlsMode::Mutual,
            "ISTIO_MUTUAL" => ClientTlsMode::IstioMutual,
            _ => ClientTlsMode::Disable,
        },
        client_certificate: of.text("clientCertificate"),
        private_key: of.text("privateKey"),
        ca_certificates: of.text("caCertificates"),
        credential_name: of.text("credentialName"),
        subject_alt_names: of.texts("subjectAltNames"),
        sni: of.text("sni"),
        ..ClientTls::default()
    }
}
