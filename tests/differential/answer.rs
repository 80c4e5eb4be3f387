//! What an upstream answers to a request.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// This status, and the body that names the upstream.
    Status(u16),
    Told(Box<Told>),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    #[serde(default = "ok")]
    pub status: u16,
    /// `name: value`
    #[serde(default)]
    pub headers: Vec<String>,
    #[serde(default)]
    pub body: String,
    /// Sent as they are, chunk by chunk, in place of the body.
    pub chunks: Option<Vec<String>>,
    #[serde(default)]
    pub trailers: Vec<String>,
    /// HTTP/1.1: these bytes in place of all that.
    pub raw: Option<String>,
    #[serde(default)]
    pub then: Then,
    /// Does not wait for the body of the request.
    #[serde(default)]
    pub early: bool,
}

fn ok() -> u16 {
    200
}

/// What becomes of the connection, or of the stream over HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    #[default]
    Stay,
    Close,
    Reset,
    /// HTTP/2: refused with REFUSED_STREAM.
    Refuse,
    /// Waits until the proxy ends it.
    Wait,
}

impl Answer {
    /// All that is told, for an upstream of that name.
    pub fn told(answer: Option<Self>, upstream: &str) -> Told {
        let naming = |status| Told {
            status,
            headers: vec![format!("x-upstream: {upstream}"), "content-type: text/plain".to_owned()],
            body: format!("this is {upstream}"),
            ..Told::default()
        };
        match answer {
            None => naming(200),
            Some(Self::Status(status)) => naming(status),
            Some(Self::Told(told)) => *told,
        }
    }
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter().map(|line| field(line));
        fields.find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }
}

pub fn field(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""))
}
