//! What an operator's own collector gets of a running mesh: traces, access logs and metrics, by configuration alone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::mesh::{Mesh, get, repository, until};
use crate::ports::free;
use crate::telemetry::api;

/// A path, and what was posted to it.
type Post = (String, Vec<u8>);

/// Takes whatever is posted, for as long as the test runs.
struct Collector {
    at: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let posts: Arc<Mutex<Vec<_>>> = Arc::default();
        let known = Arc::clone(&posts);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let known = Arc::clone(&known);
                std::thread::spawn(move || stream.and_then(|stream| take(&stream, &known)));
            }
        });
        Self { at, posts }
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let posts = self.posts.lock().unwrap();
        posts.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }

    /// Messages of OTLP, as the published definitions read them.
    fn decoded(&self, path: &str, kind: &str) -> Vec<Value> {
        let python = repository("target/test-venv/bin/python");
        let mut command = Command::new(python);
        command.arg(repository("tests/e2e/collector/decode.py")).arg(kind);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("scripts/test-setup prepares target/test-venv");
        let mut input = child.stdin.take().unwrap();
        let bodies = self.bodies(path);
        let writing = std::thread::spawn(move || {
            for body in bodies {
                writeln!(input, "{}", body.len()).unwrap();
                input.write_all(&body).unwrap();
            }
        });
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        assert!(output.status.success(), "the definitions of OTLP do not read what was sent");
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The items of the lists that are reached by these names, one after the other.
fn inside(messages: &[Value], path: &[&str]) -> Vec<Value> {
    path.iter().fold(messages.to_vec(), |found, name| {
        found.iter().flat_map(|one| one[*name].as_array().cloned().unwrap_or_default()).collect()
    })
}

fn attribute(of: &Value, name: &str) -> String {
    let pairs = of["attributes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = pairs.iter().find(|pair| pair["key"] == name);
    pair.and_then(|pair| pair["value"]["stringValue"].as_str()).unwrap_or_default().to_owned()
}

/// A real InfluxDB, of version 1.
struct Influx {
    child: Child,
    at: SocketAddr,
    _dir: TempDir,
}

impl Influx {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        // InfluxDB tells nobody which it was given.
        let free = || free([127, 0, 0, 1]);
        let (at, own) = (free(), free());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"{own}\"\n[meta]\ndir = \"{}\"\n[data]\ndir = \"{}\"\n\
             wal-dir = \"{}\"\n[http]\nbind-address = \"{at}\"\n[monitor]\nstore-enabled = false\n",
            path("meta"),
            path("data"),
            path("wal"),
        );
        std::fs::write(dir.path().join("influxdb.conf"), config).unwrap();
        let mut command = Command::new("influxd");
        command.arg("-config").arg(dir.path().join("influxdb.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("influxdb is installed by scripts/test-setup");
        let influx = Self { child, at, _dir: dir };
        until("InfluxDB", Duration::from_secs(60), || get(at, "localhost", "/ping", &[]).is_ok());
        let mut stream = TcpStream::connect(at).unwrap();
        let create = "POST /query?q=CREATE%20DATABASE%20mesh HTTP/1.1\r\nhost: influx\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(create.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        influx
    }

    fn query(&self, query: &str) -> Value {
        let query = query.replace(' ', "%20").replace('"', "%22").replace('=', "%3D").replace('\'', "%27");
        let answer = get(self.at, "localhost", &format!("/query?db=mesh&q={query}"), &[]);
        answer.map(|answer| answer.json()).unwrap_or_default()
    }
}

impl Drop for Influx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The requests of a connection.
fn take(stream: &TcpStream, posts: &Mutex<Vec<(String, Vec<u8>)>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_lowercase();
            if let Some(rest) = line.strip_prefix("post ") {
                path = rest.split(' ').next().unwrap().to_owned();
            } else if let Some(number) = line.strip_prefix("content-length: ") {
                length = number.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        posts.lock().unwrap().push((path, body));
        (&mut &*stream).write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// The collector as a service of the mesh, and a provider for each signal.
fn settings(collector: &Collector, influx: &Influx, tracing: &str) -> String {
    let port = collector.at.port();
    let service = format!("service: collector.example.com, port: {port}");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: collector}}\nspec:\n  \
         hosts: [collector.example.com]\n  ports: [{{number: {port}, name: http, protocol: HTTP}}]\n  \
         location: MESH_EXTERNAL\n  resolution: STATIC\n  endpoints: [{{address: 127.0.0.1}}]\n---\n\
         apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh, namespace: istio-system}}\n\
         spec:\n  extensionProviders:\n  \
         - {{name: zipkin, zipkin: {{{service}}}}}\n  \
         - {{name: otlp, opentelemetry: {{{service}, http: {{path: /v1/traces}}}}}}\n  \
         - {{name: logs, envoyOtelAls: {{{service}, http: {{path: /v1/logs}}, logFormat: {{text: \"%RESPONSE_CODE%\", \
         labels: {{path: \"%REQ(:PATH)%\"}}}}}}}}\n  \
         - {{name: metrics, otlpMetrics: {{url: \"http://{}/v1/metrics\", interval: 1s}}}}\n  \
         - {{name: influx, influxdb: {{url: \"http://{}\", database: mesh, interval: 1s}}}}\n  \
         defaultProviders: {{tracing: [{tracing}], metrics: [prometheus, metrics, influx]}}\n---\n\
         apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: mesh, namespace: istio-system}}\nspec:\n  \
         tracing: [{{randomSamplingPercentage: 100, customTags: {{mesh: {{literal: {{value: mine}}}}}}}}]\n  \
         accessLogging: [{{providers: [{{name: logs}}], filter: {{expression: \"request.path.startsWith('/reviews')\"}}}}]\n  \
         metrics: [{{overrides: [{{match: {{metric: REQUEST_COUNT}}, tagOverrides: {{request_method: \
         {{value: request.method}}, response_flags: {{operation: REMOVE}}}}}}, {{match: {{metric: REQUEST_SIZE}}, \
         disabled: true}}]}}]\n",
        collector.at, influx.at,
    )
}

#[test]
fn a_collector_gets_traces_logs_and_metrics_by_configuration() {
    let mesh = Mesh::start(&[]);
    let (collector, influx) = (Collector::start(), Influx::start());
    mesh.apply(&settings(&collector, &influx, "zipkin"));
    until("a trace of both proxies over Zipkin", Duration::from_secs(90), || {
        mesh.get("/productpage", &[]);
        let lists = collector.bodies("/api/v2/spans");
        let spans: Vec<Value> =
            lists.iter().flat_map(|list| serde_json::from_slice::<Vec<Value>>(list).unwrap()).collect();
        spans.iter().any(|span| {
            let caller =
                spans.iter().find(|other| other["id"] == span["parentId"] && other["traceId"] == span["traceId"]);
            span["kind"] == "SERVER"
                && span["localEndpoint"]["serviceName"] == "details"
                && span["tags"]["mesh"] == "mine"
                && caller.is_some_and(|caller| {
                    caller["kind"] == "CLIENT" && caller["localEndpoint"]["serviceName"] == "productpage"
                })
        })
    });
    until("access logs of what the expression is true of", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        let logs = collector.decoded("/v1/logs", "logs");
        let records = inside(&logs, &["resourceLogs", "scopeLogs", "logRecords"]);
        let paths: Vec<String> = records.iter().map(|record| attribute(record, "path")).collect();
        assert!(paths.iter().all(|path| path.starts_with("/reviews")), "{paths:?}");
        records.iter().any(|record| record["body"]["stringValue"] == "200" && record["traceId"].is_string())
    });
    until("metrics of the whole mesh", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        let told = collector.decoded("/v1/metrics", "metrics");
        let mut metrics = inside(&told, &["resourceMetrics", "scopeMetrics", "metrics"]);
        metrics.retain(|metric| metric["name"] == "istio_requests_total" && metric["sum"]["isMonotonic"] == true);
        let sums: Vec<Value> = metrics.iter().map(|metric| metric["sum"].clone()).collect();
        inside(&sums, &["dataPoints"]).iter().any(|point| {
            attribute(point, "source_workload") == "productpage-v1"
                && attribute(point, "destination_service_name") == "reviews"
                && point["asInt"] != "0"
        })
    });
    until("the same in InfluxDB", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        let query = "SELECT LAST(total) FROM istio_requests WHERE source_workload = 'productpage-v1' AND \
                     destination_service_name = 'reviews' AND response_code = '200'";
        influx.query(query)["results"][0]["series"][0]["values"][0][1].as_u64().is_some_and(|total| total > 0)
    });
    until("labels as the Telemetry says", Duration::from_secs(60), || {
        mesh.get("/productpage", &[]);
        let targets = api(&mesh, "sd");
        targets.as_array().unwrap().iter().any(|group| {
            let at = group["targets"][0].as_str().unwrap().parse().unwrap();
            let metrics = get(at, "localhost", group["labels"]["__metrics_path__"].as_str().unwrap(), &[]).unwrap();
            let told = |line: &str| {
                line.starts_with("istio_requests_total{")
                    && line.contains("request_method=\"GET\"")
                    && !line.contains("response_flags")
            };
            metrics.body.lines().any(told)
        })
    });
    mesh.apply(&settings(&collector, &influx, "otlp"));
    until("a trace of both proxies over OTLP", Duration::from_secs(90), || {
        mesh.get("/productpage", &[]);
        let told = collector.decoded("/v1/traces", "traces");
        let resources = inside(&told, &["resourceSpans"]);
        let of = |service: &str, kind: &str| {
            let resources: Vec<Value> = resources
                .iter()
                .filter(|resource| attribute(&resource["resource"], "service.name") == service)
                .cloned()
                .collect();
            let mut spans = inside(&resources, &["scopeSpans", "spans"]);
            spans.retain(|span| span["kind"] == kind);
            spans
        };
        let callers = of("productpage", "SPAN_KIND_CLIENT");
        of("details", "SPAN_KIND_SERVER").iter().any(|span| {
            let called =
                |caller: &&Value| caller["spanId"] == span["parentSpanId"] && caller["traceId"] == span["traceId"];
            callers.iter().any(|caller| called(&caller))
        })
    });
}
