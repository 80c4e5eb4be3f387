//! Cases as data: files of one case a line.

use std::path::Path;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    /// The bytes of the connection; or one of the parts below, put into a plain request.
    pub send: Option<String>,
    pub field: Option<String>,
    pub host: Option<String>,
    pub target: Option<String>,
    pub chunks: Option<String>,
    /// The listener that it goes to; `plain` unless said.
    pub on: Option<String>,
    /// The upstream's answer, and the method that it is an answer to.
    pub answer: Option<String>,
    pub method: Option<String>,
    /// The upstream's connection ends after the answer.
    #[serde(default)]
    pub close: bool,
    /// A refusal need not end the connection: the request could be read.
    #[serde(default)]
    pub stays: bool,
    /// The client's side ends after what it sends.
    #[serde(default)]
    pub ends: bool,
    /// Statuses: alternatives by `|`, one after another by `,`; `-` is an end of the connection without an answer.
    pub want: String,
    #[serde(default)]
    pub level: Level,
    /// In small letters: what must stand in the bytes that are passed on, and what must not.
    #[serde(default)]
    pub sees: Vec<String>,
    #[serde(default)]
    pub never: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    #[default]
    Must,
    Should,
}

/// The cases of a file in `http1/`.
pub fn load(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/http1").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vec<Vector> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    vectors.into_iter().map(|vector| Vector { name: format!("{file}: {}", vector.name), ..vector }).collect()
}

impl Vector {
    /// What the client sends.
    pub fn bytes(&self) -> Vec<u8> {
        let text = match self {
            Self { send: Some(send), .. } => send.clone(),
            Self { field: Some(field), .. } => format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"),
            Self { host: Some(host), .. } => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Self { target: Some(target), .. } => format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"),
            Self { chunks: Some(chunks), .. } => {
                format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
            }
            _ => panic!("{}: nothing is sent", self.name),
        };
        expand(&text)
    }

    /// The statuses of each alternative; `None` is an end without an answer.
    pub fn wanted(&self) -> Vec<Vec<Option<u16>>> {
        let one = |status: &str| match status.trim() {
            "-" => None,
            status => Some(status.parse().unwrap()),
        };
        self.want.split('|').map(|all| all.split(',').map(one).collect()).collect()
    }

    /// Whether these statuses are what the standard wants.
    pub fn accepts(&self, statuses: &[u16]) -> bool {
        self.wanted().iter().any(|all| all.iter().flatten().eq(statuses))
    }
}

/// Characters are bytes; `<<text*n>>` is the text n times.
pub fn expand(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("<<") {
        let end = start + rest[start..].find(">>").unwrap();
        let (piece, times) = rest[start + 2..end].rsplit_once('*').unwrap();
        out.push_str(&rest[..start]);
        out.push_str(&piece.repeat(times.parse().unwrap()));
        rest = &rest[end + 2..];
    }
    out.push_str(rest);
    out.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}
