//! The floor: copies bytes between two connections and looks at none of them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const BUFFER: usize = 64 * 1024;

/// `relay LISTEN UPSTREAM`
pub fn run(arguments: &[String]) -> crate::Fallible<()> {
    let (listen, upstream): (SocketAddr, SocketAddr) = (arguments[0].parse()?, arguments[1].parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                let server = TcpStream::connect(upstream).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::try_join!(copy(from_client, to_server), copy(from_server, to_client))?;
                Ok::<_, std::io::Error>(())
            });
        }
        #[allow(unreachable_code, reason = "names the type of the error")]
        Ok::<(), std::io::Error>(())
    })?)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            n => to.write_all(&buffer[..n]).await?,
        }
    }
}
