//! Brotli or gzip for whoever takes it, where it is worth it. A stream of events is never touched.

use std::io::{self, Write as _};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::problem::Problem;

/// Below this the packet is the same.
const WORTH_IT: u64 = 1024;
/// Fast: this is a control plane, not an archive.
const GZIP_LEVEL: u32 = 1;
const BROTLI_LEVEL: u32 = 2;
/// The base-2 logarithm of brotli's window (RFC 7932 section 9.1).
const BROTLI_WINDOW: u32 = 20;
const BUFFER: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
}

pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let coding = wanted(request.headers()).filter(|_| request.method() != Method::HEAD);
    let response = next.run(request).await;
    let size = response.body().size_hint();
    // Only a body that is there whole is compressed.
    match coding {
        Some(coding) if size.exact().is_some_and(|size| size >= WORTH_IT) && is_text(response.headers()) => {
            pack(response, coding).await
        }
        _ => response,
    }
}

async fn pack(response: Response, coding: Coding) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::NOT_MODIFIED || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let packed = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => coding.pack(&bytes).map_err(Problem::internal),
        Err(error) => Err(Problem::internal(error)),
    };
    match packed {
        Ok(packed) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            Response::from_parts(parts, Body::from(packed))
        }
        Err(problem) => problem.into_response(),
    }
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let packed = Vec::with_capacity(bytes.len() / 4);
        match self {
            Self::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(packed, BUFFER, BROTLI_LEVEL, BROTLI_WINDOW);
                encoder.write_all(bytes)?;
                encoder.flush()?;
                Ok(encoder.into_inner())
            }
            Self::Gzip => {
                let mut encoder = GzEncoder::new(packed, Compression::new(GZIP_LEVEL));
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// The coding that is wished for most; brotli where both are as welcome (RFC 9110 section 12.5.3).
fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let of = |coding: Coding| Some((coding, quality(headers, coding.name())?)).filter(|(_, quality)| *quality > 0.0);
    match (of(Coding::Brotli), of(Coding::Gzip)) {
        (Some((_, brotli)), Some((_, gzip))) if gzip > brotli => Some(Coding::Gzip),
        (brotli, gzip) => brotli.or(gzip).map(|(coding, _)| coding),
    }
}

/// How welcome a coding is, if it is named.
fn quality(headers: &HeaderMap, name: &str) -> Option<f32> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|coding| {
        let (named, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=")?.trim().parse().ok()?;
        named.trim().eq_ignore_ascii_case(name).then_some(weight)
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = crate::extract::media_type(headers);
    crate::extract::is_json(&kind)
        || matches!(kind.as_str(), "text/html" | "text/plain" | "text/css")
        || kind.ends_with("javascript")
        || kind == "image/svg+xml"
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_coding_is_what_the_caller_likes_best_of_what_there_is() {
        let of = |value: &'static str| {
            wanted(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert_eq!(of("gzip, deflate, br, zstd"), Some(Coding::Brotli));
        assert_eq!(of("br;q=0.5, GZIP ; q=0.8"), Some(Coding::Gzip));
        assert_eq!(of("br;q=0, gzip"), Some(Coding::Gzip));
        assert_eq!((of("gzip;q=0"), of("deflate"), wanted(&HeaderMap::new())), (None, None, None));
    }

    #[test]
    fn what_was_packed_can_be_unpacked() {
        let text = "a mesh of services ".repeat(1000);
        let mut unpacked = String::new();
        let packed = Coding::Brotli.pack(text.as_bytes()).unwrap();
        brotli::Decompressor::new(&packed[..], BUFFER).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        let packed = Coding::Gzip.pack(text.as_bytes()).unwrap();
        unpacked.clear();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
}
