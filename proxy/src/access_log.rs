//! Access logs: formats with Envoy's command operators, what a request leaves behind for them, and the sink that
//! writes lines without ever blocking the data path.

mod arguments;
mod attributes;
mod certificate;
mod export;
mod filter;
mod flags;
mod format;
pub mod grpc;
mod info;
mod metadata;
mod operator;
mod otlp;
mod parse;
mod print;
mod sink;
mod time_format;
pub mod tls_names;
mod write;

pub use certificate::CertificateFact;
pub use export::LogExporters;
pub use filter::{Comparison, ComparisonOp, LogFilter};
pub use flags::ResponseFlags;
pub use format::{Format, FormatError};
pub use info::{ConnectionInfo, LogContext, LogKind, RequestInfo, TlsInfo, Transport};
pub use metadata::text as metadata_text;
pub use otlp::OtlpLog;
pub use sink::{LogSink, Target};

use std::rc::Rc;
use std::sync::Arc;

use crate::http::headers::Headers;
use crate::http::message::RequestHead;
use crate::worker::Worker;

/// One `access_log` entry of a listener, an HTTP connection manager or a TCP proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `None` logs everything.
    pub filter: Option<LogFilter>,
    pub logger: Logger,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum Logger {
    File {
        target: Target,
        format: Format,
    },
    /// To a collector, as records.
    Otlp(Arc<OtlpLog>),
}

impl AccessLog {
    /// Formats one line and hands it on. Never blocks.
    pub fn log(&self, context: &LogContext<'_>, worker: &Rc<Worker>) {
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(context)) {
            return;
        }
        match &self.logger {
            Logger::File { target, format } => {
                let mut line = Vec::with_capacity(512);
                format.write(context, &mut line);
                worker.log.send(target, line);
            }
            Logger::Otlp(log) => worker.log_exporters.push(worker, log, context),
        }
    }
}

impl<'a> LogContext<'a> {
    /// What is known before there is an answer.
    pub fn of_request(info: &'a RequestInfo, request: &'a RequestHead) -> Self {
        Self { request: Some(request), ..Self::of_connection(info) }
    }

    /// What is known of a connection that carries no HTTP.
    pub fn of_connection(info: &'a RequestInfo) -> Self {
        Self { info, request: None, response: None, trailers: None, kind: LogKind::NotSet, local_reply_body: b"" }
    }

    pub fn of_kind(mut self, kind: LogKind) -> Self {
        self.kind = kind;
        self
    }

    pub fn with_response(mut self, headers: &'a Headers, trailers: Option<&'a Headers>) -> Self {
        self.response = Some(headers);
        self.trailers = trailers;
        self
    }
}

#[cfg(test)]
mod tests;
