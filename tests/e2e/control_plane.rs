//! A control plane by itself, in a directory of its own and on ports that the system chooses; it ends with the test.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::mesh::{text, until, weft};
use crate::process::Process;

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct ControlPlane {
    directory: TempDir,
    process: Option<Process>,
}

impl ControlPlane {
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), process: None }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(weft());
        command.args(arguments).env("WEFT_DATA_DIR", self.path()).stdin(Stdio::null());
        command
    }

    /// Not started yet; a --listen-api among the options is taken in place of loopback.
    pub fn prepared(&self, options: &[&str]) -> Command {
        let any = "127.0.0.1:0";
        let mut command = self.command(&["control-plane", "--listen-xds", any, "--listen-metrics", any]);
        if !options.contains(&"--listen-api") {
            command.args(["--listen-api", any]);
        }
        command.args(options);
        command
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self, options: &[&str]) {
        let log = std::fs::File::create(self.log()).unwrap();
        let mut command = self.prepared(options);
        self.process = Some(Process(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()));
        until("the control plane", LIMIT, || self.weft(&["services"]).status.success());
    }

    pub fn stop(&mut self) {
        self.process = None;
        let _ = std::fs::remove_file(self.path().join("control-plane/address.json"));
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().0.id()
    }

    pub fn log(&self) -> std::path::PathBuf {
        self.path().join("log")
    }

    pub fn weft(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.weft(arguments);
        assert!(output.status.success(), "weft {arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.weft(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }

    /// Applies a DestinationRule `a` for this host.
    pub fn apply(&self, host: &str) -> Output {
        let file = self.path().join("rule.yaml");
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec: {{host: {host}}}\n"
        );
        std::fs::write(&file, rule).unwrap();
        self.weft(&["apply", "-f", file.to_str().unwrap()])
    }

    /// The host of the DestinationRule `a`.
    pub fn host(&self) -> String {
        let output = self.weft(&["get", "destinationrule", "a", "-o", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        found["spec"]["host"].as_str().unwrap_or_default().to_owned()
    }

    pub fn endpoints(&self, service: &str) -> usize {
        let output = self.weft(&["endpoints", service, "-o", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        found["items"].as_array().map(Vec::len).unwrap_or_default()
    }

    /// What it tells other verbs of itself.
    pub fn address(&self) -> Value {
        let address = std::fs::read(self.path().join("control-plane/address.json")).unwrap();
        serde_json::from_slice(&address).unwrap()
    }
}
