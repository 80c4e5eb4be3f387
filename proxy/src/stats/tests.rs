//! What a scrape shows of what was counted.

use super::*;
use crate::config::{ServiceRef, WorkloadRef};

fn reviews() -> WorkloadRef {
    WorkloadRef {
        name: "reviews-v2".into(),
        namespace: "default".into(),
        canonical_service: "reviews".into(),
        canonical_revision: "v2".into(),
        cluster: "weft".into(),
    }
}

#[test]
fn a_request_shows_with_istios_labels_summed_over_workers() {
    let stats = Stats::default();
    let (workload, service) = (
        reviews(),
        ServiceRef {
            host: "reviews.default.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "default".into(),
        },
    );
    let labels = RequestLabels {
        ends: TcpLabels {
            reporter: Reporter::Destination,
            source: None,
            source_principal: "spiffe://cluster.local/ns/default/sa/productpage",
            destination: Some(&workload),
            destination_principal: "",
            service: Some(&service),
            response_flags: "",
            mutual_tls: true,
            reached: true,
        },
        protocol: "http",
        response_code: 200,
        grpc_status: None,
    };
    for shard in [stats.shard(), stats.shard()] {
        let series = shard.requests(&labels, None);
        series.total.add(1);
        series.duration_milliseconds.observe(7);
    }
    let text = stats.exposition();
    assert!(
        text.contains(
            "istio_requests_total{reporter=\"destination\",source_workload=\"unknown\",\
             source_workload_namespace=\"unknown\",\
             source_principal=\"spiffe://cluster.local/ns/default/sa/productpage\",source_app=\"unknown\",\
             source_version=\"unknown\",source_cluster=\"unknown\",source_canonical_service=\"unknown\",\
             source_canonical_revision=\"unknown\",destination_workload=\"reviews-v2\",\
             destination_workload_namespace=\"default\",destination_principal=\"unknown\",\
             destination_app=\"reviews\",destination_version=\"v2\",destination_cluster=\"weft\",\
             destination_canonical_service=\"reviews\",destination_canonical_revision=\"v2\",\
             destination_service=\"reviews.default.svc.cluster.local\",destination_service_name=\"reviews\",\
             destination_service_namespace=\"default\",request_protocol=\"http\",response_code=\"200\",\
             response_flags=\"-\",connection_security_policy=\"mutual_tls\"} 2\n"
        ),
        "{text}"
    );
    let bucket = |bound: &str| {
        let line = text.lines().find(|l| l.contains("duration_milliseconds_bucket") && l.contains(bound)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!([bucket("le=\"5\""), bucket("le=\"10\""), bucket("le=\"+Inf\"")], ["0", "2", "2"]);
}

#[test]
fn a_peer_reads_back_and_nonsense_is_nobody() {
    assert_eq!(decode_peer(encode_peer(&reviews()).as_bytes()), Some(reviews()));
    assert_eq!(decode_peer(b"%%%"), None);
    assert_eq!(decode_peer(b""), None);
    let cache = PeerCache::default();
    let value = encode_peer(&reviews());
    let first = cache.get(value.as_bytes()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &cache.get(value.as_bytes()).unwrap()));
}

proptest::proptest! {
    #[test]
    fn no_peer_header_makes_the_decoder_panic(value in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = decode_peer(&value);
    }
}

#[tokio::test]
async fn requests_show_under_envoys_names() {
    use crate::filter::test_kit::{Proxy, one_route};
    let proxy = Proxy::start(Vec::new(), one_route(serde_json::json!({}))).await;
    for _ in 0..2 {
        assert!(proxy.get("/", "").await.starts_with("HTTP/1.1 200 "));
    }
    let metrics = proxy.plane.metrics();
    let (manager, cluster) = ("envoy_http_conn_manager_prefix=\"x\"", "envoy_cluster_name=\"c\"");
    let listener = format!("envoy_listener_address=\"{}\"", proxy.address.to_string().replace(':', "_"));
    for line in [
        format!("envoy_http_downstream_rq_total{{{manager}}} 2"),
        format!("envoy_http_downstream_rq_http1_total{{{manager}}} 2"),
        format!("envoy_http_downstream_rq_xx{{{manager},envoy_response_code_class=\"2\"}} 2"),
        format!("envoy_http_downstream_rq_completed{{{manager}}} 2"),
        format!("envoy_http_downstream_rq_time_count{{{manager}}} 2"),
        format!("envoy_http_downstream_cx_total{{{manager}}} 2"),
        format!("envoy_cluster_upstream_rq_total{{{cluster}}} 2"),
        format!("envoy_cluster_upstream_rq{{{cluster},envoy_response_code=\"200\"}} 2"),
        format!("envoy_cluster_upstream_rq_xx{{{cluster},envoy_response_code_class=\"2\"}} 2"),
        format!("envoy_cluster_upstream_rq_time_count{{{cluster}}} 2"),
        format!("envoy_cluster_upstream_cx_total{{{cluster}}} 2"),
        format!("envoy_cluster_upstream_cx_http1_total{{{cluster}}} 2"),
        format!("envoy_cluster_membership_healthy{{{cluster}}} 1"),
        format!("envoy_listener_downstream_cx_total{{{listener}}} 2"),
        "envoy_server_live{} 1".to_owned(),
        "envoy_cluster_manager_active_clusters{} 1".to_owned(),
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is not in {metrics}");
    }
    assert!(metrics.contains("# TYPE envoy_cluster_upstream_cx_active gauge\n"));
    assert!(metrics.contains("# TYPE envoy_cluster_upstream_rq_time histogram\n"));
}

#[test]
fn statuses_that_find_no_place_count_by_class() {
    let stats = Stats::default();
    let cluster = stats.shard().cluster("c");
    (200..220).for_each(|status| cluster.answered(status));
    let text = stats.exposition();
    assert!(
        text.contains("envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"c\",envoy_response_code_class=\"2\"} 20\n")
    );
    assert_eq!(text.matches("envoy_cluster_upstream_rq{").count(), 16);
}

#[test]
fn a_level_is_the_same_in_every_worker() {
    let stats = Stats::default();
    for shard in [stats.shard(), stats.shard()] {
        shard.cluster("c").membership_total.set(3);
    }
    assert!(stats.exposition().contains("envoy_cluster_membership_total{envoy_cluster_name=\"c\"} 3\n"));
}

#[test]
fn ejections_show_by_their_cause_where_hosts_are_judged() {
    use crate::upstream::Cause;
    let stats = Stats::default();
    let (cluster, _other) = (stats.shard().cluster("c"), stats.shard().cluster("d"));
    let outliers = cluster.outliers.get_or_init(Box::default);
    outliers.detected[Cause::Consecutive5xx as usize].add(2);
    outliers.enforced[Cause::Consecutive5xx as usize].add(1);
    outliers.enforced_total.add(1);
    outliers.overflow.add(1);
    outliers.active.set(1);
    let text = stats.exposition();
    for (name, count) in [
        ("active", 1),
        ("overflow", 1),
        ("enforced_total", 1),
        ("detected_consecutive_5xx", 2),
        ("enforced_consecutive_5xx", 1),
        ("enforced_local_origin_success_rate", 0),
    ] {
        let line = format!("envoy_cluster_outlier_detection_ejections_{name}{{envoy_cluster_name=\"c\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(!text.contains("ejections_active{envoy_cluster_name=\"d\"}"));
}
