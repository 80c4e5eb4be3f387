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
        },
        protocol: "http",
        response_code: 200,
        grpc_status: None,
    };
    for shard in [stats.shard(), stats.shard()] {
        let series = shard.requests(&labels);
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
