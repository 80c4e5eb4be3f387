//! The answer to what could not be read as a request.

use std::time::SystemTime;

use super::local::Reply;
use super::{Connection, answer_rules, local_reply};
use crate::access_log::{LogContext, ResponseFlags};
use crate::http::body::Body;
use crate::http::message::{ResponseHead, Version};
use crate::http::{Response, h1};

impl Connection {
    /// Counts and logs it, and answers.
    pub fn refuse(&self, error: h1::ParseError) -> Response {
        let manager = &self.manager;
        let mut info = self.next_info();
        info.response_code_details = Some(error.detail.into());
        info.protocol = Some(Version::Http11);
        self.stats.cx_protocol_error.add(1);
        let mut reply = Reply::new(error.status, error.body());
        if let Some(rules) = &manager.local_replies {
            reply = local_reply::rewrite(rules, reply, None, &mut info);
        }
        info.response_code = Some(reply.status);
        info.flags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
        info.bytes_sent = reply.body.len() as u64;
        for log in &manager.access_logs {
            log.log(&LogContext::of_connection(&info), &self.downstream.worker);
        }
        let mut head = ResponseHead::new(reply.status);
        head.headers = reply.headers;
        if !reply.body.is_empty() && !head.headers.contains("content-type") {
            head.headers.append("content-type", "text/plain");
        }
        head.headers.append("date", httpdate::fmt_http_date(SystemTime::now()));
        match &manager.answer_rules {
            None => head.headers.set("server", &manager.server_name),
            Some(rules) => answer_rules::apply(rules, manager, &mut head, None, &info),
        }
        Response::new(head, Body::Full(reply.body))
    }
}
