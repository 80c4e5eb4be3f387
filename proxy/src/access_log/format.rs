//! A format: text with command operators (`%REQ(X-ID)%`), or a JSON object whose leaves are such texts.

use super::operator::Limited;
use super::{LogContext, parse, write};

/// A checked format, for log lines and for header values.
#[derive(Clone, Debug, PartialEq)]
pub struct Format {
    shape: Shape,
    /// Whether what is absent leaves no trace (Envoy `omit_empty_values`): no `-` in a text, no key in an object.
    omit_empty: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Text(Vec<Piece>),
    Json(Vec<(String, Json)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Literal(String),
    Value(Limited),
}

/// A leaf, a list or an inner object of a JSON format.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Text(Vec<Piece>),
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Constant(String),
}

/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("`%{operator}%` at byte {place} is not an operator that this proxy knows")]
    UnknownOperator { operator: String, place: usize },
    #[error("`%` at byte {0} is not closed; write `%%` for a percent sign")]
    Unclosed(usize),
    #[error("`%{operator}%` at byte {place}: {problem}")]
    BadArgument { operator: String, place: usize, problem: String },
    #[error("a JSON format is not deeper than 8")]
    Deep,
}

impl Format {
    /// Parses a text with command operators.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self { shape: Shape::Text(parse::pieces(text)?), omit_empty: false })
    }

    /// Parses a JSON format. A line is one object, its keys sorted, followed by a newline.
    pub fn parse_json(fields: &api::prost_types::Struct) -> Result<Self, FormatError> {
        Ok(Self { shape: Shape::Json(parse::object(fields, 0)?), omit_empty: false })
    }

    /// The same without a trace of what is absent.
    pub fn omitting_empty(mut self) -> Self {
        self.omit_empty = true;
        self
    }

    /// Istio's default text format.
    pub fn istio() -> Self {
        Self::parse(ISTIO_TEXT).expect("a constant that the tests parse")
    }

    /// Envoy's default text format, for loggers without one of their own.
    pub fn envoy() -> Self {
        Self::parse(ENVOY_TEXT).expect("a constant that the tests parse")
    }

    /// The text, where it has no operators.
    pub fn constant(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(pieces) => match pieces.as_slice() {
                [] => Some(""),
                [Piece::Literal(text)] => Some(text),
                _ => None,
            },
            Shape::Json(_) => None,
        }
    }

    /// Appends a log line. A value can hold no raw quote, backslash or control character, so it cannot forge a line.
    pub fn write(&self, context: &LogContext<'_>, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Text(pieces) => write::line(pieces, self.omit_empty, context, out),
            Shape::Json(fields) => {
                write::object(fields, self.omit_empty, context, out);
                out.push(b'\n');
            }
        }
    }

    pub fn is_json(&self) -> bool {
        matches!(self.shape, Shape::Json(_))
    }

    /// Appends the body of an answer: absent values are `-` and nothing is escaped.
    pub fn write_body(&self, context: &LogContext<'_>, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Text(pieces) => write::body(pieces, self.omit_empty, context, out),
            Shape::Json(_) => self.write(context, out),
        }
    }

    /// Appends a header value: absent values are empty, and nothing is escaped (the header list refuses what would
    /// split a message).
    pub fn write_value(&self, context: &LogContext<'_>, out: &mut Vec<u8>) {
        if let Shape::Text(pieces) = &self.shape {
            write::value(pieces, context, out);
        }
    }
}

/// Istio: `pilot/pkg/model/telemetry_logging.go`, the default for mesh setting `accessLogFile`.
pub const ISTIO_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
);

/// Envoy's own default text format.
const ENVOY_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" ",
    "\"%UPSTREAM_HOST%\"\n"
);
