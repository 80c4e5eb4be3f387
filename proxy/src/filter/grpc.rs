//! Calls of a filter's own over gRPC: one message there, one back.

use std::rc::Rc;
use std::time::Duration;

use api::prost::Message;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::call::{Answer, CallError, call};
use crate::access_log::{Format, LogContext};
use crate::http::headers::Headers;
use crate::http::message::{RequestHead, Version};
use crate::worker::Worker;

/// `envoy.config.core.v3.GrpcService` with `envoy_grpc`.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcService {
    pub cluster: String,
    pub authority: String,
    /// Of the whole call; zero is none.
    pub timeout: Duration,
    pub initial_metadata: Vec<(String, Format)>,
}

/// Why a call brought no message.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer is no gRPC message (HTTP status {0})")]
    NoMessage(u16),
    #[error("gRPC status {0}")]
    Status(u32),
}

impl GrpcService {
    /// Calls a method (`/package.Service/Method`). The context is that of the request which the call is about.
    pub async fn call<M: Message + Default>(
        &self,
        worker: &Rc<Worker>,
        method: &str,
        message: &impl Message,
        context: &LogContext<'_>,
    ) -> Result<M, GrpcError> {
        let mut headers: Headers = [("te", "trailers"), ("content-type", "application/grpc")].into_iter().collect();
        if !self.timeout.is_zero() {
            headers.append("grpc-timeout", format!("{}m", self.timeout.as_millis().clamp(1, 99_999_999)));
        }
        for (name, format) in &self.initial_metadata {
            let mut value = Vec::new();
            format.write_value(context, &mut value);
            let _ = headers.try_append(name.as_bytes(), &value);
        }
        let head = RequestHead {
            method: "POST".to_owned(),
            scheme: "http",
            authority: self.authority.clone(),
            path: method.to_owned(),
            version: Version::Http2,
            headers,
            upgrade: None,
        };
        let answer = call(worker, &self.cluster, &head, frame(message), self.timeout).await?;
        read(answer)
    }
}

/// A message with its length before it (gRPC over HTTP/2, Length-Prefixed-Message).
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows as it must.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

fn read<M: Message + Default>(answer: Answer) -> Result<M, GrpcError> {
    let status = |headers: &Headers| headers.get_str("grpc-status").and_then(|status| status.parse::<u32>().ok());
    let told = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.head.headers));
    if let Some(failure) = told.filter(|status| *status != 0) {
        return Err(GrpcError::Status(failure));
    }
    let message = (answer.head.status == 200 && told.is_some()).then(|| message(answer.body)).flatten();
    message.ok_or(GrpcError::NoMessage(answer.head.status))
}

/// The one message, not compressed: nothing else was asked for.
fn message<M: Message + Default>(mut body: Bytes) -> Option<M> {
    if body.len() < 5 || body.get_u8() != 0 || body.get_u32() as usize != body.len() {
        return None;
    }
    M::decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::ResponseHead;
    use api::envoy::service::auth::v3::CheckResponse;

    fn answer(status: u16, grpc_status: Option<&str>, body: Bytes) -> Answer {
        let trailers = grpc_status.map(|status| [("grpc-status", status)].into_iter().collect());
        Answer { head: ResponseHead::new(status), body, trailers }
    }

    #[test]
    fn only_a_whole_message_with_a_good_status_is_taken() {
        let good = frame(&CheckResponse::default());
        assert!(read::<CheckResponse>(answer(200, Some("0"), good.clone())).is_ok());
        for (status, grpc_status, body) in [
            (200, Some("7"), good.clone()),
            (200, None, good.clone()),
            (500, Some("0"), good.clone()),
            (200, Some("x"), good),
            (200, Some("0"), Bytes::new()),
            (200, Some("0"), Bytes::from_static(&[0, 0, 0, 0])),
            (200, Some("0"), Bytes::from_static(&[1, 0, 0, 0, 0])),
            (200, Some("0"), Bytes::from_static(&[0, 0, 0, 0, 2, 8])),
            (200, Some("0"), Bytes::from_static(&[0, 0, 0, 0, 2, 255, 255])),
        ] {
            let read = read::<CheckResponse>(answer(status, grpc_status, body.clone()));
            assert!(read.is_err(), "{status} {grpc_status:?} {body:?}");
        }
    }
}
