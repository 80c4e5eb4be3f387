//! The Python programs of the tests, in the environment that `scripts/test-setup` makes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn command(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python: PathBuf = root.join("target/test-venv/bin/python");
    assert!(python.exists(), "run scripts/test-setup first");
    let mut command = Command::new(python);
    command.arg(root.join("tests/conformance").join(script));
    command
}

/// A program that serves until this is dropped.
pub struct Server(Child);

impl Server {
    /// Starts it, and waits until it says that it is ready.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child = command(script);
        let mut child = child.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{script}");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end, and gives what it said.
pub fn run(script: &str, arguments: &[&str]) -> String {
    let output = command(script).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
