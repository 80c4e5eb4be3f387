//! An upstream that speaks HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use super::{Notes, Rewound, Serving, Stream};
use crate::answer::{Then, Told, field};
use crate::observed::head_lines;

pub async fn serve(first: Vec<u8>, stream: Box<dyn Stream>, name: &'static str, notes: Arc<Notes>) {
    let stream = Rewound { first: first.into(), stream };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let notes = Arc::clone(&notes);
        tokio::spawn(async move { one(request, respond, name, &notes).await });
    }
}

async fn one(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    name: &'static str,
    notes: &Arc<Notes>,
) {
    let (parts, mut stream) = request.into_parts();
    let mut fields = pairs(&parts.headers);
    let pseudo = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
    fields.extend(pseudo(":authority", parts.uri.authority().map(http::uri::Authority::as_str)));
    fields.extend(pseudo(":scheme", parts.uri.scheme_str()));
    fields.extend(pseudo(":protocol", parts.extensions.get::<h2::ext::Protocol>().map(|p| p.as_str())));
    let path = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let lines = head_lines("", &format!("{} {path} HTTP/2", parts.method), fields);
    let lines = lines.iter().map(|line| line.trim_start().to_owned()).collect();
    let (serving, told) = notes.request(name, lines);
    if !told.early {
        body(&mut stream, &serving).await;
    }
    answer(&told, parts.method == http::Method::HEAD, &mut respond).await;
    if told.then == Then::Wait {
        let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    }
}

async fn body(stream: &mut RecvStream, serving: &Serving) {
    while let Some(data) = stream.data().await {
        let Ok(data) = data else { return };
        let _ = stream.flow_control().release_capacity(data.len());
        serving.note(|seen| seen.body.extend_from_slice(&data));
    }
    if let Ok(trailers) = stream.trailers().await {
        let lines = trailers.iter().flat_map(pairs).map(|(n, v)| format!("{n}: {v}"));
        serving.note(|seen| {
            seen.trailers = lines.collect();
            seen.trailers.sort();
            seen.end = "";
        });
    }
}

async fn answer(told: &Told, bodiless: bool, respond: &mut SendResponse<Bytes>) {
    match told.then {
        Then::Refuse => return respond.send_reset(Reason::REFUSED_STREAM),
        Then::Reset if told.body.is_empty() => return respond.send_reset(Reason::INTERNAL_ERROR),
        Then::Wait if told.body.is_empty() => return,
        _ => {}
    }
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(told.status).unwrap();
    *response.headers_mut() = map(&told.headers);
    let stays = told.then == Then::Stay || told.then == Then::Close;
    let only_head = bodiless || told.body.is_empty() && told.trailers.is_empty() && stays;
    let Ok(mut stream) = respond.send_response(response, only_head) else { return };
    if only_head {
        return;
    }
    let end = told.trailers.is_empty() && stays;
    let _ = stream.send_data(told.body.clone().into(), end);
    if !told.trailers.is_empty() {
        let _ = stream.send_trailers(map(&told.trailers));
    } else if told.then == Then::Reset {
        // The head must have left before the reset takes everything along.
        tokio::task::yield_now().await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    }
}

pub fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

pub fn map(lines: &[String]) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (name, value) in lines.iter().map(|line| field(line)) {
        map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    map
}
