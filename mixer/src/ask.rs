//! What is asked of one proxy over the stream of its reports, and its answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::weft::v1 as wire;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use wire::ask::What;

/// So long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions that wait to be sent.
const QUEUE: usize = 8;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("it does not report to this control plane: it runs without telemetry, or is connected to another one")]
    Away,
    #[error("too many questions to it wait already; ask again once they are answered")]
    Busy,
    #[error("it did not answer within 5 s; one that is older than this control plane does not know the question")]
    Silent,
    #[error("it refused: {0}")]
    Refused(String),
}

pub(crate) struct Question {
    pub what: What,
    pub answer: oneshot::Sender<wire::Answer>,
}

/// Where each proxy that reports is asked, by its id in discovery.
#[derive(Clone, Default)]
pub(crate) struct Asks(Arc<Mutex<HashMap<String, mpsc::Sender<Question>>>>);

/// The questions of one stream; while it lives, the proxy can be asked.
pub(crate) struct Asked {
    node: String,
    asks: Asks,
    own: mpsc::Sender<Question>,
    questions: mpsc::Receiver<Question>,
    open: HashMap<u32, oneshot::Sender<wire::Answer>>,
    next: u32,
}

impl Asks {
    pub fn open(&self, node: &str) -> Asked {
        let (own, questions) = mpsc::channel(QUEUE);
        // A stream that begins anew replaces the one before.
        self.0.lock().insert(node.to_owned(), own.clone());
        Asked { node: node.to_owned(), asks: self.clone(), own, questions, open: HashMap::new(), next: 0 }
    }

    pub async fn ask(&self, node: &str, what: What) -> Result<String, AskError> {
        let proxy = self.0.lock().get(node).cloned().ok_or(AskError::Away)?;
        let (answer, answered) = oneshot::channel();
        proxy.try_send(Question { what, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::Busy,
            mpsc::error::TrySendError::Closed(_) => AskError::Away,
        })?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) if answer.error.is_empty() => Ok(answer.text),
            Ok(Ok(answer)) => Err(AskError::Refused(answer.error)),
            Ok(Err(_)) => Err(AskError::Away),
            Err(_) => Err(AskError::Silent),
        }
    }
}

impl Asked {
    pub async fn next(&mut self) -> wire::Ask {
        // `own` is a sender: there is always one.
        let Some(question) = self.questions.recv().await else { return std::future::pending().await };
        self.open.retain(|_, answer| !answer.is_closed());
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, question.answer);
        wire::Ask { id: self.next, what: Some(question.what) }
    }

    pub fn answered(&mut self, answers: Vec<wire::Answer>) {
        for answer in answers {
            if let Some(waiting) = self.open.remove(&answer.id) {
                // Who asked may be gone.
                let _ = waiting.send(answer);
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut asks = self.asks.0.lock();
        if asks.get(&self.node).is_some_and(|current| current.same_channel(&self.own)) {
            asks.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_level() -> What {
        What::LogLevel(wire::LogLevel { filter: "debug".into() })
    }

    #[tokio::test]
    async fn each_question_gets_its_own_answer() {
        let asks = Asks::default();
        let mut proxy = asks.open("a");
        let ask = |asks: Asks| tokio::spawn(async move { asks.ask("a", log_level()).await });
        let (first, second) = (ask(asks.clone()), ask(asks.clone()));
        let (one, two) = (proxy.next().await, proxy.next().await);
        let refusal = wire::Answer { id: two.id, error: "no".into(), ..Default::default() };
        proxy.answered(vec![refusal, wire::Answer { id: one.id, text: "debug".into(), ..Default::default() }]);
        let mut answers = [first.await.unwrap(), second.await.unwrap()];
        answers.sort_by_key(Result::is_err);
        assert_eq!(answers, [Ok("debug".into()), Err(AskError::Refused("no".into()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_or_silent_is_told_of() {
        let asks = Asks::default();
        assert_eq!(asks.ask("a", log_level()).await, Err(AskError::Away));
        let before = asks.open("a");
        let mut after = asks.open("a");
        drop(before);
        assert_eq!(asks.ask("a", log_level()).await, Err(AskError::Silent));
        let _ = after.next().await;
        drop(after);
        assert_eq!(asks.ask("a", log_level()).await, Err(AskError::Away));
    }
}
