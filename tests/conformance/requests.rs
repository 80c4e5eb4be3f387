//! Requests that are malformed, ambiguous or wicked: the status that RFC 9110 and RFC 9112 want, and no byte upstream
//! that could be read in two ways.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpStream};

use crate::oracle;
use crate::recorder::{PATIENCE, Recorder};
use crate::vectors::{Level, Vector, load};
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

pub const FILES: [&str; 7] =
    ["framing.yaml", "chunked.yaml", "fields.yaml", "host.yaml", "target.yaml", "line.yaml", "connection.yaml"];

/// By the names in the data: what most say, one for HTTP/1.0, and one that does not wait.
const LISTENERS: [(&str, u16, &str); 3] = [
    ("plain", 8001, "upgrade_configs: [{ upgrade_type: websocket }]"),
    (
        "ancient",
        8002,
        "http_protocol_options: { accept_http_10: true }, upgrade_configs: [{ upgrade_type: websocket }]",
    ),
    ("hasty", 8003, "request_headers_timeout: 0.2s, request_timeout: 0.2s"),
];

/// Each request has a connection of its own upstream, which ends with it: then its bytes are known to be all.
pub const CLUSTER: &str = "typed_extension_protocol_options: \
     { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { \"@type\": \
     type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
     common_http_protocol_options: { max_requests_per_connection: 1 }, explicit_http_config: \
     { http_protocol_options: {} } } }";

/// What the client sends on the same connection once it is answered. After a refusal it must fall on deaf ears.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

struct Outcome {
    statuses: Vec<u16>,
    /// Answers to the probe.
    after: usize,
    problems: Vec<String>,
}

#[test]
fn every_malformed_request_is_refused_and_no_ambiguous_byte_goes_upstream() {
    let address = own_address();
    let recorder = Recorder::start(address);
    let listeners = LISTENERS.map(|(name, port, manager)| Listener { name, port, manager, routes: ALL });
    let _weft = Weft::start(&bootstrap(address, &listeners, recorder.address, CLUSTER));
    let vectors: Vec<Vector> = FILES.iter().flat_map(|file| load(file)).collect();
    assert!(vectors.len() >= 165, "{} cases", vectors.len());
    let (mut ambiguous, mut must, mut should) = (Vec::new(), Vec::new(), Vec::new());
    for vector in &vectors {
        let outcome = run(vector, address, &recorder);
        let told = format!("{}: wanted {}, got {:?}", vector.name, vector.want, outcome.statuses);
        ambiguous.extend(outcome.problems.iter().map(|problem| format!("{}: {problem}", vector.name)));
        let refused = outcome.statuses.last().is_some_and(|status| matches!(status, 400 | 408 | 417 | 426 | 431 | 501));
        let heard = refused && outcome.after > 0 && !vector.stays;
        match vector.level {
            _ if vector.accepts(&outcome.statuses) && !heard => {}
            Level::Must => must.push(told),
            Level::Should => should.push(told),
        }
    }
    let all = |list: &[String]| list.join("\n");
    assert!(ambiguous.is_empty(), "upstream saw what is ambiguous:\n{}", all(&ambiguous));
    assert!(must.is_empty() && should.is_empty(), "MUST:\n{}\nSHOULD:\n{}", all(&must), all(&should));
}

fn run(vector: &Vector, address: IpAddr, recorder: &Recorder) -> Outcome {
    let on = vector.on.as_deref().unwrap_or("plain");
    let (_, port, _) = LISTENERS.iter().find(|(name, ..)| *name == on).unwrap();
    let mut client = TcpStream::connect((address, *port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = vector.bytes();
    // A refusal may come, and the connection end, before all is sent.
    let _ = client.write_all(&sent);
    if vector.ends {
        let _ = client.shutdown(Shutdown::Write);
    }
    let head = sent.starts_with(b"HEAD ");
    let most =
        vector.wanted().iter().map(|all| all.iter().flatten().filter(|status| **status >= 200).count()).max().unwrap();
    let mut problems = Vec::new();
    let mut answers = Vec::new();
    let statuses = statuses(read(&mut client, &mut answers, head, most), &mut problems);
    let before = statuses.len();
    let _ = client.write_all(PROBE);
    let all = self::statuses(read(&mut client, &mut answers, head, usize::MAX), &mut problems);
    drop(client);
    let answered = all.iter().filter(|status| **status == 200).count();
    problems.extend(judge(vector, &recorder.take(), answered));
    Outcome { statuses, after: all.len() - before, problems }
}

fn statuses(told: Result<oracle::Told, String>, problems: &mut Vec<String>) -> Vec<u16> {
    match told {
        Ok(told) => told.whole.iter().map(|answer| answer.status).collect(),
        Err(problem) => {
            problems.push(format!("in the answer: {problem}"));
            Vec::new()
        }
    }
}

/// Reads until there are so many final answers, or the connection ends.
pub fn read(client: &mut TcpStream, bytes: &mut Vec<u8>, head: bool, most: usize) -> Result<oracle::Told, String> {
    let mut piece = [0; 65536];
    loop {
        let told = oracle::answers(bytes, head, false)?;
        if told.whole.iter().filter(|answer| answer.status >= 200).count() >= most {
            return Ok(told);
        }
        match client.read(&mut piece) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err("nothing comes, and the connection stays open".into());
            }
            _ => return oracle::answers(bytes, head, true),
        }
    }
}

/// What is wrong with the bytes that the upstream got.
fn judge(vector: &Vector, connections: &[Vec<u8>], answered: usize) -> Vec<String> {
    let mut problems = Vec::new();
    let mut whole = 0;
    for bytes in connections {
        match oracle::requests(bytes) {
            Ok(told) => whole += told.whole.len(),
            Err(problem) => problems.push(problem),
        }
    }
    if whole != answered {
        problems.push(format!("{whole} requests went upstream, {answered} were answered"));
    }
    let all = connections.concat();
    let text = String::from_utf8_lossy(&all).to_lowercase();
    // The probe is no part of what is judged.
    let text = text.split("get /probe ").next().unwrap_or_default();
    problems.extend(vector.sees.iter().filter(|part| !text.contains(*part)).map(|part| format!("{part:?} is missing")));
    problems
        .extend(vector.never.iter().filter(|part| text.contains(*part)).map(|part| format!("{part:?} went upstream")));
    problems
}
