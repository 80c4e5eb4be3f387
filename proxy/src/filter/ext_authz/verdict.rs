//! What a service decided, and the changes that come with it.

use api::prost_types::Struct;
use bytes::Bytes;

use crate::config::AppendAction;
use crate::forward::Reply;
use crate::http::headers::{Headers, is_token};
use crate::http::message::RequestHead;
use crate::query;

/// No answer is a failure.
#[derive(Debug, Default)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Of a reply; `None`: the usual one.
    pub status: Option<u16>,
    pub body: Bytes,
    /// Of a reply.
    pub reply: Vec<Change>,
    /// Of the request, if it goes on.
    pub request: Vec<Change>,
    pub remove: Vec<String>,
    pub query_set: Vec<(String, String)>,
    pub query_remove: Vec<String>,
    /// Of the upstream's answer, if the request goes on.
    pub response: Vec<Change>,
    pub metadata: Option<Struct>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Denied,
    #[default]
    Failed,
}

/// A header to be set or added. Names are lower case.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub name: String,
    pub value: Vec<u8>,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// As the header action says.
    As(AppendAction),
    /// Joined to the value that is there; where none is, nothing (Envoy, `append` of an allowed request).
    JoinIfExists,
}

impl Change {
    pub fn set(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::new(name, value, Action::As(AppendAction::OverwriteIfExistsOrAdd))
    }

    pub fn new(name: &str, value: impl Into<Vec<u8>>, action: Action) -> Self {
        Self { name: name.to_ascii_lowercase(), value: value.into(), action }
    }

    /// A value that no header may have is left out.
    pub fn apply(&self, headers: &mut Headers) {
        let Self { name, value, action } = self;
        let exists = headers.contains(name);
        match action {
            Action::As(AppendAction::AppendIfExistsOrAdd) => drop(headers.try_append(name.as_bytes(), value)),
            Action::As(AppendAction::AddIfAbsent) if exists => {}
            Action::As(AppendAction::OverwriteIfExists) if !exists => {}
            Action::As(_) => headers.set(name, value),
            Action::JoinIfExists => {
                if let Some(before) = headers.joined(name) {
                    let joined = [&before, &b","[..], value].concat();
                    headers.set(name, joined);
                }
            }
        }
    }

    fn is_valid(&self) -> bool {
        let name = self.name.strip_prefix(':').unwrap_or(&self.name);
        !name.is_empty()
            && name.bytes().all(is_token)
            && !self.value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    }
}

impl Verdict {
    pub fn allowed() -> Self {
        Self { outcome: Outcome::Allowed, ..Self::default() }
    }

    /// Whether all it changes can be changed so (`validate_mutations`).
    pub fn is_valid(&self) -> bool {
        let text = |text: &String| text.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b"&=#".contains(&byte));
        [&self.request, &self.reply, &self.response].into_iter().flatten().all(Change::is_valid)
            && self.query_set.iter().all(|(name, value)| text(name) && text(value))
    }

    /// Changes the request; true if there was anything to change.
    pub fn apply(&self, head: &mut RequestHead) -> bool {
        for change in &self.request {
            match change.name.as_str() {
                ":path" if change.value.starts_with(b"/") => set_part(&mut head.path, &change.value),
                ":authority" | "host" => set_part(&mut head.authority, &change.value),
                ":method" if change.value.iter().all(|byte| is_token(*byte)) => {
                    set_part(&mut head.method, &change.value);
                }
                name if name.starts_with(':') => {}
                _ => change.apply(&mut head.headers),
            }
        }
        for name in &self.remove {
            head.headers.remove(&name.to_ascii_lowercase());
        }
        for (name, value) in &self.query_set {
            set_query(&mut head.path, name, value);
        }
        for name in &self.query_remove {
            query::remove(&mut head.path, name);
        }
        !self.request.is_empty()
            || !self.remove.is_empty()
            || !self.query_set.is_empty()
            || !self.query_remove.is_empty()
    }

    /// The answer in place of the upstream's.
    pub fn reply(self, status: u16) -> Reply {
        let mut reply = Reply::new(self.status.unwrap_or(status), self.body);
        for change in &self.reply {
            // One content type is enough.
            if change.name == "content-type" {
                reply.headers.set("content-type", &change.value);
            } else if !change.name.starts_with(':') && change.name != "content-length" {
                change.apply(&mut reply.headers);
            }
        }
        reply
    }
}

/// A part of the head is replaced by text that may stand there, and otherwise left alone.
fn set_part(part: &mut String, value: &[u8]) {
    if let Some(text) = plain(value) {
        text.clone_into(part);
    }
}

fn set_query(path: &mut String, name: &str, value: &str) {
    if plain(name.as_bytes()).is_some() && (value.is_empty() || plain(value.as_bytes()).is_some()) {
        query::set(path, name, value);
    }
}

fn plain(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f)).then_some(text)
}
