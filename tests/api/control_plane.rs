//! A control plane of its own for each test, and requests to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// It ends with the test.
pub struct ControlPlane {
    process: Child,
    pub url: String,
    /// `https://host:port`, where proxies connect.
    pub xds: String,
    pub token: String,
    pub data: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl ControlPlane {
    pub fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
        command.arg("--data-dir").arg(data.path()).arg("control-plane");
        command.args(["--listen-xds", "127.0.0.1:0", "--listen-api", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"]);
        // The tests ask more often than anybody should.
        command.args(["--api-rate", "100000"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut started = Self { process, url: String::new(), xds: String::new(), token: String::new(), data };
        let deadline = Instant::now() + Duration::from_secs(60);
        let file = started.data.path().join("control-plane/address.json");
        while !file.exists() {
            assert!(Instant::now() < deadline, "the control plane is not ready");
            assert!(started.process.try_wait().unwrap().is_none(), "the control plane ended");
            std::thread::yield_now();
        }
        let address: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        started.url = address["api"].as_str().unwrap().to_owned();
        started.xds = address["xds"].as_str().unwrap().to_owned();
        started.token = std::fs::read_to_string(started.data.path().join("token")).unwrap().trim().to_owned();
        started
    }

    /// The process's id.
    #[allow(dead_code, reason = "a bench asks for it")]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let authority = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
        text += &format!("authorization: Bearer {}\r\ncontent-length: {}\r\n", self.token, body.len());
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Answer {
            status,
            headers: lines.filter_map(pair).collect(),
            body: serde_json::from_str(body).unwrap_or_default(),
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
