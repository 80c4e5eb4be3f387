//! A caller: one connection, one request (or some bytes), and whether it got through.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::certificates::Certificates;
use crate::table::Case;

const PATIENCE: Duration = Duration::from_secs(60);
/// When tokens end: in the year 2096.
const FAR: u64 = 4_000_000_000;
const SECRET: &[u8] = b"what signs the tokens of the table";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Denied,
}

pub fn ask(address: IpAddr, case: &Case, key: &str, certificates: &Certificates) -> Outcome {
    let stream = connect(case, (address, case.port).into());
    match case.principal() {
        None => speak(stream, case, key),
        Some(principal) => {
            let name = match &case.sni {
                Some(name) => ServerName::try_from(name.clone()).unwrap(),
                None => ServerName::from(address),
            };
            let tls = ClientConnection::new(certificates.caller(&principal), name).unwrap();
            speak(StreamOwned::new(tls, stream), case, key)
        }
    }
}

fn connect(case: &Case, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((case.from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn speak(mut stream: impl Read + Write, case: &Case, key: &str) -> Outcome {
    if case.is_tcp() {
        return match echo(&mut stream) {
            Ok(said) if said == b"hello" => Outcome::Allowed,
            // Closed, perhaps before anything was sent.
            Ok(said) => {
                assert!(said.is_empty(), "{case:?}: {said:?}");
                Outcome::Denied
            }
            Err(error) => {
                let cut = [
                    io::ErrorKind::ConnectionReset,
                    io::ErrorKind::BrokenPipe,
                    io::ErrorKind::UnexpectedEof,
                    io::ErrorKind::ConnectionAborted,
                ];
                assert!(cut.contains(&error.kind()), "{case:?}: {error}");
                Outcome::Denied
            }
        };
    }
    stream.write_all(head(case, key).as_bytes()).unwrap();
    stream.flush().unwrap();
    let answer = answer(&mut stream);
    match answer.split(' ').nth(1) {
        Some("200") => Outcome::Allowed,
        Some("403") => {
            assert!(!answer.contains("policy["), "the caller is told more than it must know: {answer}");
            Outcome::Denied
        }
        _ => panic!("{case:?}: {answer:?}"),
    }
}

/// A whole answer: a proxy may leave the connection open for a while after it.
fn answer(stream: &mut impl Read) -> String {
    let (mut answer, mut buf) = (String::new(), [0; 4096]);
    loop {
        let whole = answer.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
        });
        if whole {
            return answer;
        }
        match stream.read(&mut buf) {
            Ok(read @ 1..) => answer.push_str(&String::from_utf8_lossy(&buf[..read])),
            ended => panic!("{ended:?} after {answer:?}"),
        }
    }
}

fn echo(stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
    stream.write_all(b"hello")?;
    stream.flush()?;
    let mut said = vec![0; 5];
    let mut read = 0;
    while read < said.len() {
        match stream.read(&mut said[read..])? {
            0 => break,
            more => read += more,
        }
    }
    said.truncate(read);
    Ok(said)
}

fn head(case: &Case, key: &str) -> String {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {}\r\nx-case: {key}\r\nconnection: close\r\n",
        case.method, case.path, case.host
    );
    for (name, value) in &case.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(all) = case.said.clone().or_else(|| case.forwarded.map(|address| address.to_string())) {
        head += &format!("x-forwarded-for: {all}\r\n");
    }
    if let Some(claims) = &case.token {
        head += &format!("authorization: Bearer {}\r\n", token(claims.clone()));
    }
    head + "\r\n"
}

/// The set that verifies the table's tokens.
pub fn keys() -> Value {
    json!({"keys": [{"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)}]})
}

pub fn complete(claims: &mut Value) {
    let claims = claims.as_object_mut().unwrap();
    claims.entry("iss").or_insert_with(|| json!("issuer"));
    claims.entry("exp").or_insert_with(|| json!(FAR));
}

fn token(mut claims: Value) -> String {
    complete(&mut claims);
    signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims)
}

/// What a signature is put under: head and claims.
pub fn unsigned(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(head), part(claims))
}

/// With the table's key, whatever the head says.
pub fn signed(head: &Value, claims: &Value) -> String {
    let signed = unsigned(head, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
