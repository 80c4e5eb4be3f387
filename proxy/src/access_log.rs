//! Access logs: formats with Envoy's command operators, what a request leaves behind for them, and the sink that
//! writes lines without ever blocking the data path.

mod flags;
mod format;
mod info;
mod operator;
mod parse;
mod sink;
mod time_format;
mod write;

pub use flags::ResponseFlags;
pub use format::{Format, FormatError};
pub use info::{ConnectionInfo, LogContext, RequestInfo, TlsInfo};
pub use sink::{LogSink, Target};

use crate::http::headers::Headers;
use crate::http::message::RequestHead;

/// One `access_log` entry of a listener, an HTTP connection manager or a TCP proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub target: Target,
    pub format: Format,
}

impl AccessLog {
    /// Formats one line and hands it to the sink. Never blocks.
    pub fn log(&self, context: &LogContext<'_>, sink: &LogSink) {
        let mut line = Vec::with_capacity(512);
        self.format.write(context, &mut line);
        sink.send(&self.target, line);
    }
}

impl<'a> LogContext<'a> {
    /// What is known before there is an answer.
    pub fn of_request(info: &'a RequestInfo, request: &'a RequestHead) -> Self {
        Self { info, request: Some(request), response: None, trailers: None }
    }

    /// What is known of a connection that carries no HTTP.
    pub fn of_connection(info: &'a RequestInfo) -> Self {
        Self { info, request: None, response: None, trailers: None }
    }

    pub fn with_response(mut self, headers: &'a Headers, trailers: Option<&'a Headers>) -> Self {
        self.response = Some(headers);
        self.trailers = trailers;
        self
    }
}

#[cfg(test)]
mod tests;
