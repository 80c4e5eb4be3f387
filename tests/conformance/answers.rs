//! Upstreams whose answers are malformed or say more than they should: the client gets one answer that can be read in
//! one way, or none; and the next request gets its own answer, not what was left over.

use std::io::Write as _;
use std::net::{IpAddr, TcpStream};

use crate::oracle;
use crate::recorder::{PATIENCE, Recorder};
use crate::requests::read;
use crate::vectors::{Vector, expand, load};
use crate::weft::{ALL, Listener, Weft, bootstrap, own_address};

const PORT: u16 = 8001;

#[test]
fn every_malformed_answer_stays_with_its_own_request() {
    let address = own_address();
    let recorder = Recorder::start(address);
    let listener = Listener {
        name: "answers",
        port: PORT,
        manager: "upgrade_configs: [{ upgrade_type: websocket }]",
        routes: ALL,
    };
    let _weft = Weft::start(&bootstrap(address, &[listener], recorder.address, ""));
    let problems: Vec<String> =
        load("answers.yaml").iter().flat_map(|vector| run(vector, address, &recorder)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn run(vector: &Vector, address: IpAddr, recorder: &Recorder) -> Vec<String> {
    let method = vector.method.as_deref().unwrap_or("GET");
    recorder.script(expand(vector.answer.as_deref().unwrap()), vector.close);
    let mut problems = Vec::new();
    let (bytes, told) = ask(address, method, "/first");
    match &told {
        Err(problem) => problems.push(problem.clone()),
        Ok(told) => {
            let statuses: Vec<u16> = told.whole.iter().map(|answer| answer.status).collect();
            if !vector.accepts(&statuses) {
                problems.push(format!("wanted {}, got {statuses:?}", vector.want));
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    problems.extend(vector.sees.iter().filter(|part| !text.contains(*part)).map(|part| format!("{part:?} is missing")));
    problems.extend(vector.never.iter().filter(|part| text.contains(*part)).map(|part| format!("{part:?} came")));
    // The proxy may only now learn of what the upstream said out of turn: the next request shows what it made of it.
    let (_, second) = ask(address, "GET", "/second");
    if !second.as_ref().is_ok_and(|told| told.whole.len() == 1 && told.whole[0].body == b"ok") {
        problems.push(format!("the next request got {second:?}"));
    }
    recorder.end();
    recorder.take();
    problems.into_iter().map(|problem| format!("{}: {problem}", vector.name)).collect()
}

fn ask(address: IpAddr, method: &str, path: &str) -> (Vec<u8>, Result<oracle::Told, String>) {
    let mut client = TcpStream::connect((address, PORT)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let told = read(&mut client, &mut bytes, method == "HEAD", usize::MAX);
    (bytes, told)
}
