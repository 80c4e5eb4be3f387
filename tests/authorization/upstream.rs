//! What is behind the proxies: something that answers every request, and something that says back what it hears.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Takes an underscore for a dash, as CGI does, and refuses what no rule lets through.
pub fn http() -> SocketAddr {
    serve(|stream| answer(stream, |head| !head.contains("x_role")))
}

/// Lets those in who ask for it.
pub fn provider() -> SocketAddr {
    serve(|stream| answer(stream, |head| head.contains("x-ask: yes")))
}

fn answer(mut stream: TcpStream, allows: fn(&str) -> bool) {
    let (mut heard, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buf) {
        heard.extend_from_slice(&buf[..read]);
        while let Some(end) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = heard.drain(..end + 4).collect();
            let status = if allows(&String::from_utf8_lossy(&head)) { "200 OK" } else { "403 Forbidden" };
            if stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_err() {
                return;
            }
        }
    }
}

pub fn tcp() -> SocketAddr {
    serve(|mut stream| {
        let mut buf = [0; 256];
        while let Ok(read @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..read]).is_err() {
                return;
            }
        }
    })
}

fn serve(each: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || each(stream));
        }
    });
    address
}
