//! The supervisor's control socket: one word in, one line of JSON out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::plan::State;
use crate::command::data_dir::DataDir;

/// What the supervisor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub phase: Phase,
    /// What it is waiting for.
    pub message: String,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Starting,
    Ready,
    Stopping,
}

/// What is told of a mesh that is, with nothing odd about it.
pub const READY: &str = "ready";

const DEADLINE: Duration = Duration::from_secs(5);

/// Sends a word to the supervisor of a data directory; `None` if none runs there.
pub async fn ask(data: &DataDir, word: &str) -> Option<Answer> {
    let exchange = async {
        let mut stream = UnixStream::connect(data.run("up.sock")).await.ok()?;
        stream.write_all(format!("{word}\n").as_bytes()).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        serde_json::from_str(&line).ok()
    };
    tokio::time::timeout(DEADLINE, exchange).await.ok()?
}

/// Takes the socket, in the place of one that a dead supervisor left.
pub fn bind(data: &DataDir) -> std::io::Result<UnixListener> {
    let path = data.run("up.sock");
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(path)
}

/// Answers for as long as it is polled. Only who may enter the data directory reaches the socket.
pub async fn serve(listener: UnixListener, answer: impl Fn(&str) -> Answer) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // One after the other: a slow asker may hold up the next, not the mesh.
        let _ = tokio::time::timeout(DEADLINE, reply(stream, &answer)).await;
    }
}

async fn reply(stream: UnixStream, answer: &impl Fn(&str) -> Answer) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut word = String::new();
    stream.read_line(&mut word).await?;
    let mut line = serde_json::to_vec(&answer(word.trim()))?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}
