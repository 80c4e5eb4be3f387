//! A client that speaks HTTP/2.

use std::future::poll_fn;

use bytes::Bytes;
use tokio::time::timeout;

use crate::answer::field;
use crate::corpus::Script;
use crate::observed::{Observed, body_lines, head_lines};
use crate::side::{PATIENCE, Side};
use crate::upstream::Stream;

pub async fn play(side: &Side, stream: Box<dyn Stream>, script: &Script, observed: &mut Observed) {
    let Ok((send, connection)) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await else {
        observed.lines.push("= closed".to_owned());
        return;
    };
    let running = tokio::spawn(connection);
    let mut lines = Vec::new();
    match timeout(PATIENCE, request(send.clone(), script, &mut lines)).await {
        Err(_) => lines.push("= nothing came".to_owned()),
        Ok(Err(error)) => lines.push(format!("= {}", told(&error))),
        Ok(Ok(())) => {
            side.upstreams.have(script.upstream_requests).await;
            lines.push(fate(side, send).await);
        }
    }
    observed.lines.append(&mut lines);
    running.abort();
}

fn told(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_go_away() => format!("go away: {reason:?}"),
        Some(reason) => format!("stream reset: {reason:?}"),
        None => "closed".to_owned(),
    }
}

async fn request(
    send: h2::client::SendRequest<Bytes>,
    script: &Script,
    lines: &mut Vec<String>,
) -> Result<(), h2::Error> {
    let head = script.request.as_deref().unwrap();
    let request = parse(head);
    let body = script.body.as_deref().unwrap_or_default();
    let end = body.is_empty() && script.trailers.is_none();
    let mut send = send.ready().await?;
    let (mut answer, mut stream) = send.send_request(request, end)?;
    if !end {
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), script.trailers.is_none())?;
        if let Some(trailers) = &script.trailers {
            stream.send_trailers(fields(trailers.lines()))?;
        }
    }
    while let Some(interim) = poll_fn(|cx| answer.poll_informational(cx)).await {
        note(interim?.into_parts().0, lines);
    }
    let (head, mut stream) = answer.await?.into_parts();
    note(head, lines);
    let mut bytes = Vec::new();
    let outcome = loop {
        match stream.data().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(data)) => {
                stream.flow_control().release_capacity(data.len())?;
                bytes.extend_from_slice(&data);
            }
        }
    };
    lines.extend(body_lines("<", &bytes));
    outcome?;
    if let Some(trailers) = stream.trailers().await? {
        let mut trailers: Vec<_> = pairs(&trailers).iter().map(|(n, v)| format!("< trailer {n}: {v}")).collect();
        trailers.sort();
        lines.append(&mut trailers);
    }
    Ok(())
}

fn note(head: http::response::Parts, lines: &mut Vec<String>) {
    lines.extend(head_lines("<", &format!("HTTP/2 {}", head.status.as_u16()), pairs(&head.headers)));
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    for (name, value) in lines.map(field) {
        let name = http::HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

/// A head as it would be written in HTTP/1.1, in the terms of HTTP/2.
fn parse(head: &str) -> http::Request<()> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let mut headers = fields(lines);
    headers.remove("connection");
    let host = headers.remove("host");
    let host = host.as_ref().map_or("", |host| host.to_str().unwrap());
    let uri = match method {
        "CONNECT" => http::Uri::builder().authority(path),
        _ => http::Uri::builder().scheme("http").authority(host).path_and_query(path),
    };
    let mut request = http::Request::new(());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.build().unwrap();
    *request.headers_mut() = headers;
    request
}

/// Whether another request would be answered.
async fn fate(side: &Side, send: h2::client::SendRequest<Bytes>) -> String {
    side.upstreams.silence();
    let probe = async {
        let (answer, _) = send.ready().await?.send_request(parse("GET /probe HTTP/1.1\nhost: a.test"), true)?;
        answer.await
    };
    match timeout(PATIENCE, probe).await {
        Ok(Ok(_)) => "= open".to_owned(),
        Ok(Err(error)) => format!("= then {}", told(&error)),
        Err(_) => "= then nothing".to_owned(),
    }
}
