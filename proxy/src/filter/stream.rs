//! A request under way, as filters see it.

use bytes::{Bytes, BytesMut};

use super::{After, DynamicMetadata, HttpFilter, Override, Settings};
use crate::access_log::RequestInfo;
use crate::forward::{Connection, Exchange, Reply};
use crate::http::body::{Body, BodyError, Frame};
use crate::http::message::RequestHead;
use crate::route::{Found, RouteTable};
use crate::worker::Worker;

pub struct Stream<'a> {
    pub connection: &'a Connection,
    pub head: &'a mut RequestHead,
    pub body: Body,
    pub exchange: &'a mut Exchange,
    /// Where the request goes as things stand.
    pub found: Option<Found<'a>>,
    table: Option<&'a RouteTable>,
    /// The route that the request was first found to take; it decides which filters run.
    first: Option<Found<'a>>,
    /// Whether routes set nothing for any filter: neither the first nor the one as things stand.
    plain: bool,
    after: Vec<(usize, After<'a>)>,
}

impl<'a> Stream<'a> {
    /// Finds the route.
    pub fn new(
        connection: &'a Connection,
        table: Option<&'a RouteTable>,
        head: &'a mut RequestHead,
        body: Body,
        exchange: &'a mut Exchange,
    ) -> Self {
        let mut stream =
            Self { connection, head, body, exchange, found: None, table, first: None, plain: true, after: Vec::new() };
        stream.clear_route();
        stream.first = stream.found;
        stream
    }

    pub fn worker(&self) -> &'a std::rc::Rc<Worker> {
        &self.connection.downstream.worker
    }

    pub fn info(&mut self) -> &mut RequestInfo {
        &mut self.exchange.info
    }

    /// Finds the route anew, for a filter that changed what routes match.
    pub fn clear_route(&mut self) {
        let random = self.connection.downstream.worker.random();
        self.found = self.table.and_then(|table| table.find(self.head, random));
        self.plain &= self.found.is_none_or(|found| found.overrides().next().is_none());
        self.exchange.info.route = self.found.map(|found| std::sync::Arc::clone(found.route));
    }

    /// Values of this request that other filters and logs read.
    pub fn metadata(&mut self) -> &mut DynamicMetadata {
        self.exchange.info.metadata.get_or_insert_default()
    }

    /// What the routes set for a filter, from the most specific level on.
    fn overrides(found: Option<Found<'a>>, name: &str) -> impl Iterator<Item = &'a Override> {
        found.into_iter().flat_map(|found| found.overrides()).filter_map(move |level| level.of(name))
    }

    pub(super) fn is_disabled(&self, filter: &HttpFilter) -> bool {
        if self.plain {
            return filter.disabled;
        }
        Self::overrides(self.first, &filter.name).next().map_or(filter.disabled, |level| level.disabled)
    }

    /// What the most specific level sets for a filter.
    pub fn settings(&self, filter: &HttpFilter) -> Option<&'a Settings> {
        if self.plain {
            return None;
        }
        Self::overrides(self.found, &filter.name).find_map(|level| level.settings.as_ref())
    }

    /// What every level sets for a filter, from the most specific on.
    pub fn all_settings(&self, filter: &HttpFilter) -> impl Iterator<Item = &'a Settings> {
        Self::overrides(self.found, &filter.name).filter_map(|level| level.settings.as_ref())
    }

    /// Keeps something for the answer; `place` is the filter's place in the chain.
    pub fn keep(&mut self, place: usize, after: After<'a>) {
        self.after.push((place, after));
    }

    /// What the filter at a place kept.
    pub fn kept(&mut self, place: usize) -> Option<After<'a>> {
        // They were kept in the order of the chain, and are asked for in reverse.
        self.after.pop_if(|(kept, _)| *kept == place).map(|(_, after)| after)
    }

    /// Reads the request's body, up to `limit` bytes; the body stays whole for those who come after. True if that was
    /// all of it.
    pub async fn hold_body(&mut self, limit: usize) -> Result<(Bytes, bool), BodyError> {
        if self.body.is_end() {
            return Ok((Bytes::new(), true));
        }
        let idle = self.connection.manager.stream_idle_timeout;
        let mut body = std::mem::replace(&mut self.body, Body::Empty).limited(None, idle);
        let mut seen = BytesMut::new();
        let mut frames = Vec::new();
        let mut whole = true;
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            if let Frame::Data(data) = &frame {
                seen.extend_from_slice(&data[..data.len().min(limit - seen.len())]);
            }
            let length = frames.iter().map(|frame: &Frame| frame.data_len()).sum::<usize>() + frame.data_len();
            frames.push(frame);
            if length > limit {
                whole = false;
                break;
            }
            if body.is_end() {
                break;
            }
        }
        self.body = body.after(frames);
        Ok((seen.freeze(), whole))
    }
}

/// The answer to a body that a filter could not read.
pub fn failed_body(error: &BodyError) -> Box<Reply> {
    use crate::access_log::ResponseFlags;
    let reply = match error {
        BodyError::Idle => {
            Reply::new(408, "stream timeout").flagged(ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout")
        }
        BodyError::Late => Reply::new(408, "request timeout").flagged(ResponseFlags::NONE, "request_overall_timeout"),
        _ => Reply::new(400, "")
            .flagged(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect"),
    };
    Box::new(reply)
}
