//! What sinks get, at sockets that decode it.

use std::time::Duration;

use api::latency;
use api::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use api::opentelemetry::proto::metrics::v1::metric::Data;
use api::opentelemetry::proto::metrics::v1::number_data_point::Value;
use api::prost::Message as _;
use api::weft::v1 as wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::ledger::middle;
use super::{InfluxAuth, InfluxDb, Otlp, Sink, SinkKind, StatsD, TagStyle};
use crate::tests::{Kit, Proxy, series};
use crate::{Mixer, Options};

const OFTEN: Duration = Duration::from_millis(20);
const GENEROUS: Duration = Duration::from_secs(20);

/// A mesh in which a proxy told of three requests, two of which took 2 ms and one 300 ms.
fn mesh() -> (Kit, Proxy) {
    let kit = Kit::new(Options::default());
    let proxy = kit.proxy("productpage-v1");
    (kit, proxy)
}

fn tell(kit: &Kit, proxy: &mut Proxy, total: u64) {
    let opened = vec![series(0, wire::Side::Source, Some("reviews-v1"), "reviews", 200)];
    let buckets = [latency::bucket(2000), latency::bucket(300_000)].map(|bucket| bucket as u32).to_vec();
    let counts = wire::Counts {
        id: 0,
        total,
        received_bytes: 10,
        sent_bytes: 20,
        buckets,
        in_buckets: vec![total - 1, 1],
        ..Default::default()
    };
    kit.tell(proxy, opened, vec![counts]);
}

fn sink(to: SinkKind) -> Sink {
    Sink { name: "it".into(), interval: OFTEN, to }
}

/// One request of HTTP/1.1: its head and its body; it is answered with the status.
async fn request(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (mut stream, _) = tokio::time::timeout(GENEROUS, listener.accept()).await.unwrap().unwrap();
    let mut read = Vec::new();
    let head = loop {
        stream.read_buf(&mut read).await.unwrap();
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8(read[..head].to_vec()).unwrap();
    let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let length: usize = length.unwrap().parse().unwrap();
    while read.len() < head + length {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the body ends too early");
    }
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nno!\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    (text, read.split_off(head))
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn otlp_tells_totals_and_durations_that_others_can_read() {
    let (kit, mut proxy) = mesh();
    let (listener, url) = listener().await;
    let headers = vec![("x-tenant".to_owned(), "shop".to_owned())];
    kit.mixer.export(vec![sink(SinkKind::Otlp(Otlp { url: format!("{url}/v1/metrics"), headers }))]);
    tell(&kit, &mut proxy, 3);
    let (metrics, head) = loop {
        let (head, body) = request(&listener, "200 OK").await;
        let told = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let metrics = told.resource_metrics[0].scope_metrics[0].metrics.clone();
        if !metrics.is_empty() {
            break (metrics, head);
        }
    };
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n") && head.contains("x-tenant: shop"), "{head}");
    let data = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
    let Data::Sum(requests) = data("istio_requests_total") else { panic!("no sum") };
    assert!(requests.is_monotonic && requests.aggregation_temporality == 2, "{requests:?}");
    let point = &requests.data_points[0];
    assert_eq!(point.value, Some(Value::AsInt(3)));
    let label = |name: &str| {
        let pair = point.attributes.iter().find(|pair| pair.key == name);
        format!("{:?}", pair.and_then(|pair| pair.value.clone()).and_then(|value| value.value))
    };
    assert!(label("source_workload").contains("productpage-v1") && label("response_code").contains("200"));
    let Data::Histogram(durations) = data("istio_request_duration_milliseconds") else { panic!("no histogram") };
    let point = &durations.data_points[0];
    assert_eq!(point.count, 3);
    let bucket = |bound: f64| point.explicit_bounds.iter().position(|known| *known == bound).unwrap();
    assert_eq!((point.bucket_counts[bucket(5.0)], point.bucket_counts[bucket(500.0)]), (2, 1), "{point:?}");
}

#[tokio::test]
async fn what_a_sink_does_not_take_is_sent_again_and_known_as_trouble() {
    let (kit, mut proxy) = mesh();
    let (listener, url) = listener().await;
    let auth = InfluxAuth::Database { name: "a mesh".into(), user: String::new(), password_file: String::new() };
    kit.mixer.export(vec![sink(SinkKind::InfluxDb(InfluxDb { url, auth }))]);
    tell(&kit, &mut proxy, 3);
    let refused = loop {
        let (_, body) = request(&listener, "500 Internal Server Error").await;
        if !body.is_empty() {
            break body;
        }
    };
    let (head, body) = request(&listener, "204 No Content").await;
    let status = |mixer: &Mixer| mixer.sinks().remove(0);
    assert!(head.starts_with("POST /write?db=a%20mesh&precision=ms HTTP/1.1\r\n"), "{head}");
    let line = String::from_utf8(body).unwrap();
    let (fields, time) = line.trim_end().rsplit_once(' ').unwrap();
    assert_eq!(time.len(), 13, "{line}");
    assert!(fields.starts_with("istio_requests,reporter=source,source_workload=productpage-v1,"), "{line}");
    assert!(fields.contains(" total=3i,denied=0i,request_bytes=10i,response_bytes=20i,duration_milliseconds_p50="));
    assert_eq!(String::from_utf8(refused).unwrap().split(' ').next(), fields.split(' ').next());
    let trouble = tokio::time::timeout(GENEROUS, async {
        loop {
            request(&listener, "401 Unauthorized").await;
            let now = status(&kit.mixer);
            if let Some(trouble) = now.trouble.filter(|trouble| trouble.contains("401")) {
                return (trouble, now.sent, now.failed);
            }
        }
    });
    let (trouble, sent, failed) = trouble.await.unwrap();
    assert!(trouble.contains("no!") && sent == 1 && failed >= 2, "{trouble} {sent} {failed}");
    kit.mixer.export(Vec::new());
    assert_eq!(kit.mixer.sinks(), []);
}

#[tokio::test]
async fn statsd_is_told_what_is_new_in_either_style() {
    for (tags, expected) in [
        (TagStyle::DogStatsd, "mesh.requests:2|c|#reporter:source,source_workload:productpage-v1,"),
        (TagStyle::Name, "mesh.requests.source.productpage.reviews.200:2|c"),
    ] {
        let (kit, mut proxy) = mesh();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let statsd = StatsD { address: "127.0.0.1".into(), port, prefix: "mesh".into(), tags };
        kit.mixer.export(vec![sink(SinkKind::StatsD(statsd.clone()))]);
        tell(&kit, &mut proxy, 2);
        let mut packet = vec![0; 65_536];
        // What came until it holds this.
        let mut heard = async |wanted: &str| {
            let mut text = String::new();
            while !text.contains(wanted) {
                let length = tokio::time::timeout(GENEROUS, socket.recv(&mut packet)).await.unwrap().unwrap();
                text.push_str(std::str::from_utf8(&packet[..length]).unwrap());
                text.push('\n');
            }
            text
        };
        // The bucket of 300 ms is the last that is told.
        let slow = format!(":{}|ms", middle(latency::bucket(300_000) as u8));
        let first = heard(&slow).await;
        assert!(first.lines().any(|line| line.starts_with(expected)), "{first}");
        assert!(first.lines().filter(|line| line.contains("request_duration_milliseconds")).count() == 2, "{first}");
        tell(&kit, &mut proxy, 5);
        let second = heard("|ms|@0.333").await;
        assert!(second.contains(&expected.replace(":2|c", ":3|c")), "{second}");
        // With other settings it is told what it was not told yet, and no more.
        tell(&kit, &mut proxy, 6);
        kit.mixer.export(vec![Sink { interval: OFTEN / 2, ..sink(SinkKind::StatsD(statsd)) }]);
        let third = heard("|ms").await;
        assert!(third.contains(&expected.replace(":2|c", ":1|c")), "{third}");
        tell(&kit, &mut proxy, 10);
        let fourth = heard("|ms").await;
        assert!(fourth.contains(&expected.replace(":2|c", ":4|c")), "{fourth}");
    }
}
