//! The upstream: answers each request with 1 KiB, or `/big` with as much as a bulk run asks for.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Bytes of a large answer.
pub const BIG: usize = 64 * 1024 * 1024;
const SMALL: usize = 1024;

/// `upstream LISTEN`
pub fn run(arguments: &[String]) -> crate::Fallible<()> {
    let listen: SocketAddr = arguments[0].parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(serve(stream));
        }
        #[allow(unreachable_code, reason = "names the type of the error")]
        Ok::<(), std::io::Error>(())
    })?)
}

fn head(length: usize) -> Vec<u8> {
    let date = "Mon, 01 Jan 2024 00:00:00 GMT";
    format!("HTTP/1.1 200 OK\r\nserver: bench\r\ndate: {date}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let small = [head(SMALL), vec![b'x'; SMALL]].concat();
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    let block = vec![b'y'; 256 * 1024];
    loop {
        let n = stream.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let Some(end) = buffer[..filled].windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..end]).unwrap_or_default();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let closes = text.contains("connection: close");
        let big = text.split(' ').nth(1).is_some_and(|path| path.ends_with("/big"));
        let whole = end + 4 + length.unwrap_or(0);
        while filled < whole {
            filled += stream.read(&mut buffer[filled..]).await?;
        }
        filled = 0;
        if big {
            stream.write_all(&head(BIG)).await?;
            for _ in 0..BIG / block.len() {
                stream.write_all(&block).await?;
            }
        } else {
            stream.write_all(&small).await?;
        }
        if closes {
            return stream.shutdown().await;
        }
    }
}
