//! An upstream that speaks HTTP/1.1, to the letter of the script.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Notes, Serving, Stream, close, reset};
use crate::answer::{Then, Told, field};
use crate::observed::head_lines;

struct Connection {
    stream: Box<dyn Stream>,
    buf: Vec<u8>,
}

/// Who closed in the middle.
struct Cut;

impl Connection {
    async fn fill(&mut self) -> Result<(), Cut> {
        let mut piece = vec![0; 65536];
        match self.stream.read(&mut piece).await {
            Ok(n) if n > 0 => {
                self.buf.extend_from_slice(&piece[..n]);
                Ok(())
            }
            _ => Err(Cut),
        }
    }

    async fn until(&mut self, mark: &[u8]) -> Result<String, Cut> {
        loop {
            if let Some(at) = self.buf.windows(mark.len()).position(|window| window == mark) {
                let line: Vec<u8> = self.buf.drain(..at + mark.len()).collect();
                return Ok(line[..at].escape_ascii().to_string().replace("\\r\\n", "\n").replace("\\\"", "\""));
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Cut> {
        while self.buf.len() < length {
            self.fill().await?;
        }
        Ok(self.buf.drain(..length).collect())
    }
}

pub async fn serve(
    first: Vec<u8>,
    stream: Box<dyn Stream>,
    control: socket2::Socket,
    name: &'static str,
    notes: Arc<Notes>,
) {
    let mut conn = Connection { stream, buf: first };
    while let Ok(head) = conn.until(b"\r\n\r\n").await {
        let mut lines = head.split('\n');
        let first = lines.next().unwrap_or_default().to_owned();
        let fields: Vec<_> = lines.map(field).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let noted = head_lines("", &first, fields.clone());
        let noted = noted.iter().map(|line| line.trim_start().to_owned()).collect();
        let (serving, told) = notes.request(name, noted);
        if !told.early && body(&mut conn, &fields, &serving).await.is_err() {
            return;
        }
        let method = first.split(' ').next().unwrap_or_default();
        if conn.stream.write_all(&answer(&told, method)).await.is_err() {
            return;
        }
        match told.then {
            Then::Stay if told.status == 101 => return switched(conn, &serving).await,
            Then::Stay if told.early => {
                let _ = body(&mut conn, &fields, &serving).await;
            }
            Then::Stay => {}
            Then::Close => return close(conn.stream).await,
            Then::Reset | Then::Refuse => return reset(&control),
            Then::Wait => return while conn.fill().await.is_ok() {},
        }
    }
}

async fn body(conn: &mut Connection, fields: &[(String, String)], serving: &Serving) -> Result<(), Cut> {
    let value = |name: &str| fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    if value("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let size = conn.until(b"\r\n").await?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|_| Cut)?;
            if size == 0 {
                break;
            }
            let piece = conn.exactly(size + 2).await?;
            serving.note(|seen| seen.body.extend_from_slice(&piece[..size]));
        }
        loop {
            let line = conn.until(b"\r\n").await?;
            if line.is_empty() {
                break;
            }
            serving.note(|seen| seen.trailers.push(line));
        }
    } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
        let all: Vec<u8> = conn.exactly(length).await?;
        serving.note(|seen| seen.body = all);
    }
    serving.note(|seen| seen.end = "");
    Ok(())
}

/// After a switch of protocols: says back what it hears.
async fn switched(mut conn: Connection, serving: &Serving) {
    loop {
        let bytes = std::mem::take(&mut conn.buf);
        serving.note(|seen| seen.body.extend_from_slice(&bytes));
        if conn.stream.write_all(&bytes).await.is_err() || conn.fill().await.is_err() {
            return;
        }
    }
}

/// The bytes of an answer.
fn answer(told: &Told, method: &str) -> Vec<u8> {
    if let Some(raw) = &told.raw {
        return raw.clone().into_bytes();
    }
    let mut head = format!("HTTP/1.1 {} Told\r\n", told.status);
    told.headers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
    let chunked = told.chunks.is_some() || !told.trailers.is_empty();
    let bodiless = method == "HEAD" || told.status < 200 || matches!(told.status, 204 | 304);
    if chunked {
        head.push_str("transfer-encoding: chunked\r\n");
    } else if told.header("content-length").is_none() && told.status >= 200 && told.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", told.body.len()));
    }
    head.push_str("\r\n");
    if bodiless {
        return head.into_bytes();
    }
    if !chunked {
        return (head + &told.body).into_bytes();
    }
    let whole = [told.body.clone()];
    for chunk in told.chunks.as_deref().unwrap_or(&whole).iter().filter(|chunk| !chunk.is_empty()) {
        head.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }
    if told.then == Then::Stay || !told.trailers.is_empty() {
        head.push_str("0\r\n");
        told.trailers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
        head.push_str("\r\n");
    }
    head.into_bytes()
}
