//! HTTP/2 (RFC 9113) on the `h2` crate, both sides, in the protocol-neutral form.

mod client;
mod convert;
mod flood;
pub(crate) mod frames;
mod gather;
mod incoming;
mod keepalive;
mod server;
mod stream_io;

pub use client::{Client, ClientOptions, SendError, handshake};
pub use incoming::Incoming;
pub use server::{ServerOptions, serve};
pub use stream_io::StreamIo;

/// What a connection begins with when it speaks HTTP/2 without asking (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;

use super::body::{Body, Frame};

/// Why a body was not sent whole.
#[derive(Debug)]
enum SendBodyError {
    /// Its own source failed.
    Body,
    /// The peer takes no more; the cause shows where the stream is read.
    Stream,
}

impl From<h2::Error> for SendBodyError {
    fn from(_: h2::Error) -> Self {
        Self::Stream
    }
}

/// Sends a body as the peer's window allows, and gives it up if that stays shut for `idle` (zero: never).
async fn send_body(mut stream: SendStream<Bytes>, mut body: Body, idle: Duration) -> Result<(), SendBodyError> {
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(Err(reset)),
            Poll::Pending => body.poll_frame(cx).map(Ok),
        })
        .await;
        match frame {
            Err(_) => return Err(SendBodyError::Stream),
            Ok(Some(Ok(Frame::Data(data)))) => {
                let end = body.is_end();
                send_data(&mut stream, data, end, idle).await?;
                if end {
                    return Ok(());
                }
            }
            Ok(Some(Ok(Frame::Trailers(trailers)))) => return Ok(stream.send_trailers(convert::header_map(&trailers))?),
            Ok(Some(Err(_))) => {
                // A reset takes along what still waits to be sent: the connection gets its turn first.
                tokio::task::yield_now().await;
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                return Err(SendBodyError::Body);
            }
            Ok(None) => return Ok(stream.send_data(Bytes::new(), true)?),
        }
    }
}

async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
    idle: Duration,
) -> Result<(), h2::Error> {
    if data.is_empty() {
        return if end { stream.send_data(data, true) } else { Ok(()) };
    }
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = capacity(stream, idle).await?;
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(piece, last)?;
    }
    Ok(())
}

async fn capacity(stream: &mut SendStream<Bytes>, idle: Duration) -> Result<usize, h2::Error> {
    if stream.capacity() > 0 || idle.is_zero() {
        return poll_fn(|cx| poll_capacity(stream, cx)).await;
    }
    match tokio::time::timeout(idle, poll_fn(|cx| poll_capacity(stream, cx))).await {
        Ok(room) => room,
        Err(_) => {
            stream.send_reset(h2::Reason::CANCEL);
            Err(h2::Reason::CANCEL.into())
        }
    }
}

fn poll_capacity(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
    if stream.capacity() > 0 {
        return Poll::Ready(Ok(stream.capacity()));
    }
    loop {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(room) => return Poll::Ready(room),
            None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
        }
    }
}

#[cfg(test)]
mod tests;
