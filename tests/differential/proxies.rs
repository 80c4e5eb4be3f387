//! Envoy and weft as processes: started with a file, stopped with the test, however that ends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Envoy,
    Weft,
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    guard: Child,
    log: PathBuf,
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program itself: the command of the Python package is a wrapper that starts slowly.
fn envoy() -> PathBuf {
    let library = repository("target/test-venv/lib");
    let versions = std::fs::read_dir(&library).into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    let found = programs.find(|path| path.exists());
    found.unwrap_or_else(|| panic!("Envoy is not in {}: run scripts/test-setup", library.display()))
}

impl Program {
    fn command(self, file: &Path) -> Command {
        match self {
            Self::Envoy => {
                let mut command = Command::new(envoy());
                command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warn"]);
                command.args(["--file-flush-interval-msec", "1", "--drain-time-s", "1", "-c"]).arg(file);
                command
            }
            Self::Weft => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
                command.args(["proxy", "--concurrency", "1", "-c"]).arg(file);
                command
            }
        }
    }
}

impl Proxy {
    /// Starts a proxy and waits until it takes connections there.
    pub async fn start(program: Program, file: &Path, listens: &[SocketAddr]) -> Self {
        let log = file.with_extension("log");
        let output = File::create(&log).unwrap();
        let mut command = program.command(file);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap();
        let mut proxy = Self { guard: guard(child.id()), child, log };
        for &address in listens {
            proxy.answers(program, address).await;
        }
        proxy
    }

    async fn answers(&mut self, program: Program, address: SocketAddr) {
        let end = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(address).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > end {
                panic!("{program:?} does not serve {address}: {}", std::fs::read_to_string(&self.log).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it wrote, if it runs no more or `failed`.
    pub fn ended(&mut self, failed: bool) -> Option<String> {
        let status = self.child.try_wait().unwrap();
        let log = || std::fs::read_to_string(&self.log).unwrap();
        (failed || status.is_some()).then(|| format!("{status:?}: {}", log()))
    }
}

/// Ends the process when this one does, even if this one is killed: its end closes the pipe.
fn guard(process: u32) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; kill -9 \"$0\"", &process.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}
