//! OTLP over HTTP (opentelemetry-proto, `collector/metrics/v1`): totals and histograms that only grow.

use api::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use api::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use api::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric, number_data_point,
};
use api::opentelemetry::proto::resource::v1::Resource;
use api::prost::Message as _;

use super::http;
use super::ledger::{Batch, Labels, Totals, middle};

#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    pub url: String,
    pub headers: Vec<(String, String)>,
}

/// Upper bounds in milliseconds: Istio's, as far as durations are told apart.
const BOUNDS: [f64; 15] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0];
/// Series of one request.
const MOST_AT_ONCE: usize = 2000;

impl Otlp {
    pub async fn send(&self, batch: &Batch) -> Result<(), String> {
        let mut headers = self.headers.clone();
        headers.push(("content-type".to_owned(), "application/x-protobuf".to_owned()));
        for series in batch.series.chunks(MOST_AT_ONCE) {
            http::post(&self.url, &headers, encode(batch, series).encode_to_vec()).await?;
        }
        Ok(())
    }
}

fn encode(batch: &Batch, series: &[(Labels, Totals)]) -> ExportMetricsServiceRequest {
    let of_http = |labels: &Labels| !labels.is_tcp();
    let of_tcp = Labels::is_tcp;
    let mut metrics = vec![
        sum("istio_requests_total", "{request}", batch, series, of_http, |totals| totals.requests),
        sum("istio_requests_denied_total", "{request}", batch, series, of_http, |totals| totals.denied),
        sum("istio_request_bytes_total", "By", batch, series, of_http, |totals| totals.received),
        sum("istio_response_bytes_total", "By", batch, series, of_http, |totals| totals.sent),
        sum("istio_tcp_connections_opened_total", "{connection}", batch, series, of_tcp, |totals| totals.requests),
        sum("istio_tcp_received_bytes_total", "By", batch, series, of_tcp, |totals| totals.received),
        sum("istio_tcp_sent_bytes_total", "By", batch, series, of_tcp, |totals| totals.sent),
        durations(batch, series),
    ];
    metrics.retain(|metric| match &metric.data {
        Some(metric::Data::Sum(sum)) => !sum.data_points.is_empty(),
        Some(metric::Data::Histogram(histogram)) => !histogram.data_points.is_empty(),
        None => false,
    });
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let scope = InstrumentationScope { name: "weft".to_owned(), version, ..Default::default() };
    let resource = Resource { attributes: vec![pair("service.name", "weft".to_owned())], ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { resource: Some(resource), scope_metrics }] }
}

fn sum(
    name: &str,
    unit: &str,
    batch: &Batch,
    series: &[(Labels, Totals)],
    has: fn(&Labels) -> bool,
    value: fn(&Totals) -> u64,
) -> Metric {
    let points = series.iter().filter(|(labels, _)| has(labels)).map(|(labels, totals)| NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: batch.since * 1_000_000,
        time_unix_nano: batch.now * 1_000_000,
        value: Some(number_data_point::Value::AsInt(i64::try_from(value(totals)).unwrap_or(i64::MAX))),
    });
    let sum = Sum {
        data_points: points.collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    };
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(metric::Data::Sum(sum)), ..Default::default() }
}

fn durations(batch: &Batch, series: &[(Labels, Totals)]) -> Metric {
    let points = series.iter().filter(|(_, totals)| !totals.latency.is_empty()).map(|(labels, totals)| {
        let mut counts = vec![0; BOUNDS.len() + 1];
        let mut all = 0.0;
        for (bucket, count) in &totals.latency {
            let value = middle(*bucket);
            counts[BOUNDS.partition_point(|bound| *bound < value)] += count;
            all += value * *count as f64;
        }
        HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: batch.since * 1_000_000,
            time_unix_nano: batch.now * 1_000_000,
            count: counts.iter().sum(),
            sum: Some(all),
            bucket_counts: counts,
            explicit_bounds: BOUNDS.to_vec(),
        }
    });
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let histogram = Histogram { data_points: points.collect(), aggregation_temporality };
    Metric {
        name: "istio_request_duration_milliseconds".to_owned(),
        unit: "ms".to_owned(),
        data: Some(metric::Data::Histogram(histogram)),
        ..Default::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.pairs().map(|(name, value)| pair(name, value)).collect()
}

fn pair(name: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: name.to_owned(), value: Some(value), ..Default::default() }
}
