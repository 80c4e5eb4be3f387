//! Starts the processes of a mesh, keeps them alive, and stops them all. Runs on the main thread only: a child dies
//! with the thread that started it.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use runtime::shutdown::{self, Shutdown};
use runtime::{Backoff, files};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::control::{self, Answer, Phase, READY};
use super::network::Network;
use super::plan::{CONTROL_PLANE, Process, State};
use super::progress::Progress;
use super::{Options, ready, report};
use crate::command::api::{ApiOptions, Client};
use crate::command::child;
use crate::command::data_dir::DataDir;

/// How long the whole start may take.
const START: Duration = Duration::from_secs(120);
/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(15);
/// A process that lived this long starts again at once.
const STEADY: Duration = Duration::from_secs(30);
/// What the sample needs, applied on the first start only.
const SAMPLE: [(&str, &str); 2] = [
    ("bookinfo-gateway.yaml", include_str!("../../../examples/bookinfo/bookinfo-gateway.yaml")),
    ("destination-rule-all.yaml", include_str!("../../../examples/bookinfo/destination-rule-all.yaml")),
];

/// What all parts of the supervisor share.
struct Shared {
    data: DataDir,
    restart: bool,
    state: RefCell<State>,
    phase: RefCell<(Phase, String)>,
    progress: Progress,
    /// Starts again what waits after a crash.
    wake: Notify,
    /// Something was missing and is started again.
    again: Notify,
    /// Asked by the control socket.
    down: Notify,
    exits: mpsc::UnboundedSender<(String, ExitStatus)>,
}

/// Runs the mesh until a signal or `weft down` ends it.
pub async fn run(options: Options, data: DataDir) -> anyhow::Result<()> {
    for directory in ["run", "log", "config"] {
        data.make(&data.path().join(directory))?;
    }
    let signals = shutdown::on_signals(PATIENCE)?;
    let network = Network::reserve(State::read(&data).map(|state| state.network))?;
    let state = State::plan(network.number, !options.no_sample);
    state.write(&data)?;
    let listener = control::bind(&data)?;
    let (exits, exited) = mpsc::unbounded_channel();
    let shared = Rc::new(Shared {
        restart: !options.no_restart,
        state: RefCell::new(state),
        phase: RefCell::new((Phase::Starting, "starting".into())),
        progress: Progress::new(),
        wake: Notify::new(),
        again: Notify::new(),
        down: Notify::new(),
        exits,
        data,
    });
    let answers = shared.clone();
    let live = live(&options, &shared, exited, signals);
    let local = tokio::task::LocalSet::new();
    let result = local
        .run_until(async {
            tokio::select! {
                result = live => result,
                () = control::serve(listener, |word| answers.answer(word)) => bail!("the control socket failed"),
            }
        })
        .await;
    let _ = std::fs::remove_file(shared.data.run("up.sock"));
    result
}

/// Start, life and end of the mesh. Whatever way it goes, no process is left.
async fn live(
    options: &Options,
    shared: &Rc<Shared>,
    mut exited: mpsc::UnboundedReceiver<(String, ExitStatus)>,
    signals: Shutdown,
) -> anyhow::Result<()> {
    let (stop_workloads, workloads_told) = shutdown::channel();
    let (stop_control_plane, control_plane_told) = shutdown::channel();
    let (mut workloads, mut control_plane) = (JoinSet::new(), JoinSet::new());
    let asked = async {
        tokio::select! {
            () = signals.draining() => {}
            () = shared.down.notified() => {}
        }
    };
    tokio::pin!(asked);
    let started = {
        let starting =
            start(options, shared, &mut workloads, &mut control_plane, (&workloads_told, &control_plane_told));
        tokio::select! {
            result = tokio::time::timeout(START, starting) => result.unwrap_or_else(|_| Err(shared.too_slow())).map(|()| true),
            Some((name, status)) = exited.recv() => Err(shared.start_failure(&name, status)),
            () = &mut asked => Ok(false),
        }
    };
    if matches!(started, Ok(true)) {
        tokio::select! {
            () = asked => {}
            () = report_exits(shared, &mut exited) => {}
            () = become_ready_again(shared) => {}
        }
    }
    shared.set_phase(Phase::Stopping, "stopping");
    stop_workloads.drain();
    while workloads.join_next().await.is_some() {}
    stop_control_plane.drain();
    while control_plane.join_next().await.is_some() {}
    shared.progress.done();
    started.map(drop)
}

async fn start(
    options: &Options,
    shared: &Rc<Shared>,
    workloads: &mut JoinSet<()>,
    control_plane: &mut JoinSet<()>,
    (workloads_told, control_plane_told): (&Shutdown, &Shutdown),
) -> anyhow::Result<()> {
    let (state, data) = (shared.state.borrow().clone(), &shared.data);
    shared.set_phase(Phase::Starting, "waiting for the control plane");
    control_plane.spawn_local(keep(shared.clone(), state.control_plane(options, data), control_plane_told.clone()));
    ready::control_plane(&state, data, |pid| shared.is_control_plane(pid)).await;
    if !options.no_sample {
        apply_sample(data).await?;
    }
    let program = std::env::current_exe()?.into_os_string();
    let sidecars = state.workloads.iter().map(|workload| state.workload(workload, &program, data));
    for process in [state.gateway(data)].into_iter().chain(sidecars) {
        workloads.spawn_local(keep(shared.clone(), process, workloads_told.clone()));
    }
    let odd = ready::everything(&state, data, |waiting| shared.set_phase(Phase::Starting, waiting)).await;
    if !options.no_sample {
        workloads.spawn_local(keep(shared.clone(), state.traffic(data), workloads_told.clone()));
    }
    shared.progress.done();
    shared.is_ready(odd);
    if !options.supervise {
        let now = shared.state.borrow().clone();
        report::print(&now, data, options.output.output).await?;
        eprintln!("\nctrl-C stops everything.");
    }
    Ok(())
}

/// The sample's rules, once: what the user changed later stays.
async fn apply_sample(data: &DataDir) -> anyhow::Result<()> {
    let marker = data.run("sample-applied");
    if marker.exists() {
        return Ok(());
    }
    let client = Client::open(data, &ApiOptions::default())?;
    for (file, text) in SAMPLE {
        for document in text.split("\n---\n") {
            let Named { kind, metadata } = serde_saphyr::from_str(document).context("the sample's rules")?;
            let path = format!("{}s/default/{}", kind.to_ascii_lowercase(), metadata.name);
            // An object of that name is the user's own, from a directory or an earlier life.
            if client.get(&path).await.is_err() {
                let applied = client.post(&format!("_apply?origin={file}"), document.to_owned()).await;
                applied.context("the sample's rules")?;
            }
        }
    }
    Ok(files::write_atomic(&marker, b"", files::PRIVATE)?)
}

/// As much of an object as its name takes.
#[derive(serde::Deserialize)]
struct Named {
    kind: String,
    metadata: Metadata,
}

#[derive(serde::Deserialize)]
struct Metadata {
    name: String,
}

/// Runs a process until told to stop; one that ends by itself is started again.
async fn keep(shared: Rc<Shared>, process: Process, stop: Shutdown) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        let begun = Instant::now();
        match spawn(&shared.data, &process) {
            Ok(mut child) => {
                shared.set_pid(&process.name, child.id());
                tokio::select! {
                    status = child.wait() => shared.ended(&process.name, status),
                    () = stop.draining() => {
                        end(&process.name, &mut child).await;
                        shared.set_pid(&process.name, None);
                        return;
                    }
                }
            }
            Err(error) => shared.progress.note(&format!("weft: {} cannot be started: {error:#}", process.name)),
        }
        if begun.elapsed() > STEADY {
            backoff.reset();
        }
        let pause = backoff.failed();
        tokio::select! {
            () = stop.draining() => return,
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(pause), if shared.restart => {}
        }
    }
}

fn spawn(data: &DataDir, process: &Process) -> anyhow::Result<Child> {
    let log = log_file(data, &process.name)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(&process.arguments).stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
    child::tie(&mut command, Signal::SIGTERM);
    Ok(command.spawn()?)
}

async fn end(name: &str, child: &mut Child) {
    if let Err(error) = child::stop(child, PATIENCE).await {
        eprintln!("weft: {name} could not be stopped: {error}");
    }
}

async fn report_exits(shared: &Shared, exited: &mut mpsc::UnboundedReceiver<(String, ExitStatus)>) {
    while let Some((name, status)) = exited.recv().await {
        let then = if shared.restart { "it is started again" } else { "`weft up` starts it again" };
        let log = shared.data.log(&name);
        shared.progress.note(&format!("weft: {name} ended ({status}); {then}; its log is {}", log.display()));
    }
}

/// Says so when what was started again is ready.
async fn become_ready_again(shared: &Shared) {
    loop {
        shared.again.notified().await;
        let state = shared.state.borrow().clone();
        ready::control_plane(&state, &shared.data, |pid| shared.is_control_plane(pid)).await;
        let odd = ready::everything(&state, &shared.data, |waiting| shared.set_phase(Phase::Starting, waiting)).await;
        shared.is_ready(odd);
    }
}

impl Shared {
    /// `odd` is what is not as one would expect, although everything runs.
    fn is_ready(&self, odd: Option<String>) {
        if let Some(odd) = &odd {
            self.progress.note(&format!("weft: {odd}"));
        }
        self.set_phase(Phase::Ready, odd.as_deref().unwrap_or(READY));
    }

    fn set_phase(&self, phase: Phase, message: &str) {
        *self.phase.borrow_mut() = (phase, message.to_owned());
        if phase != Phase::Ready {
            self.progress.say(message);
        }
    }

    fn set_pid(&self, name: &str, pid: Option<u32>) {
        let mut state = self.state.borrow_mut();
        match pid {
            Some(pid) => state.pids.insert(name.to_owned(), pid),
            None => state.pids.remove(name),
        };
        if let Err(error) = state.write(&self.data) {
            self.progress.note(&format!("weft: run/up.json cannot be written: {error:#}"));
        }
    }

    fn is_control_plane(&self, pid: u32) -> bool {
        self.state.borrow().pids.get(CONTROL_PLANE) == Some(&pid)
    }

    fn ended(&self, name: &str, status: std::io::Result<ExitStatus>) {
        self.set_pid(name, None);
        if let Ok(status) = status {
            let _ = self.exits.send((name.to_owned(), status));
        }
    }

    /// Starts at once what crashed.
    fn ensure(&self) {
        self.wake.notify_waiters();
        let missing = !self.state.borrow().is_whole();
        if missing && self.phase.borrow().0 == Phase::Ready {
            self.set_phase(Phase::Starting, "starting what is missing");
            self.again.notify_one();
        }
    }

    fn answer(&self, word: &str) -> Answer {
        match word {
            "down" => self.down.notify_one(),
            "ensure" => self.ensure(),
            _ => {}
        }
        let (phase, message) = self.phase.borrow().clone();
        Answer { phase, message, state: self.state.borrow().clone() }
    }

    fn start_failure(&self, name: &str, status: ExitStatus) -> anyhow::Error {
        let (log, tail) = (self.data.log(name), log_tail(&self.data, name));
        anyhow::anyhow!("{name} did not start ({status}). The end of {}:\n{tail}", log.display())
    }

    fn too_slow(&self) -> anyhow::Error {
        let message = &self.phase.borrow().1;
        let logs = self.data.path().join("log");
        anyhow::anyhow!("not ready after {} s: {message}; the logs are in {}", START.as_secs(), logs.display())
    }
}

/// The log of a process, to append to.
pub fn log_file(data: &DataDir, name: &str) -> anyhow::Result<File> {
    data.make(&data.path().join("log"))?;
    let path = data.log(name);
    OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("{}", path.display()))
}

/// The last lines of a process's log.
pub fn log_tail(data: &DataDir, name: &str) -> String {
    let text = std::fs::read(data.log(name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
