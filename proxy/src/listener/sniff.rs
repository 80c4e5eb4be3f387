//! Reads what a client sends first, to tell TLS from plaintext and to learn what it asks for, without consuming it.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::TransportProtocol;

/// What the first bytes of a connection say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sniffed {
    pub transport: TransportProtocol,
    /// Lower case, from the ClientHello.
    pub server_name: Option<String>,
    /// From the ClientHello, or `http/1.1` or `h2c` for plaintext HTTP.
    pub application_protocols: Vec<String>,
}

impl Sniffed {
    /// A connection of which nothing has been read.
    pub fn nothing() -> Self {
        Self { transport: TransportProtocol::RawBuffer, server_name: None, application_protocols: Vec::new() }
    }
}

/// A ClientHello is never longer (RFC 8446 allows more; nobody sends it).
const MAX_HELLO: usize = 32 * 1024;
const HANDSHAKE_RECORD: u8 = 0x16;

/// Tells TLS from plaintext, and what a ClientHello asks for. The bytes read stay in `buf`.
pub async fn tls(tcp: &mut TcpStream, buf: &mut BytesMut, sniffed: &mut Sniffed) -> io::Result<()> {
    loop {
        let told = match buf.first() {
            None => None,
            Some(&HANDSHAKE_RECORD) => client_hello(buf)?,
            Some(_) => return Ok(()),
        };
        if let Some(told) = told {
            *sniffed = told;
            return Ok(());
        }
        if buf.len() > MAX_HELLO {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello is too long"));
        }
        more(tcp, buf).await?;
    }
}

/// Tells which HTTP plaintext is. The bytes read stay in `buf`.
pub async fn http(tcp: &mut TcpStream, buf: &mut BytesMut, sniffed: &mut Sniffed) -> io::Result<()> {
    if sniffed.transport == TransportProtocol::Tls {
        return Ok(());
    }
    loop {
        if let Some(version) = http_version(buf) {
            sniffed.application_protocols.extend(version.map(str::to_owned));
            return Ok(());
        }
        more(tcp, buf).await?;
    }
}

async fn more(tcp: &mut TcpStream, buf: &mut BytesMut) -> io::Result<()> {
    match tcp.read_buf(buf).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// `None`: the ClientHello is not complete.
pub(crate) fn client_hello(bytes: &[u8]) -> io::Result<Option<Sniffed>> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
        match acceptor.accept() {
            Ok(None) => {}
            // Not a ClientHello after all: the chain for opaque TLS may still take it.
            Err(_) => return Ok(Some(Sniffed { transport: TransportProtocol::Tls, ..Sniffed::nothing() })),
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().into_iter().flatten();
                return Ok(Some(Sniffed {
                    transport: TransportProtocol::Tls,
                    server_name: hello.server_name().map(str::to_ascii_lowercase),
                    application_protocols: protocols.map(|p| String::from_utf8_lossy(p).into_owned()).collect(),
                }));
            }
        }
    }
    Ok(None)
}

/// The longest method that is waited for.
const MAX_METHOD: usize = 20;

/// Which HTTP the bytes begin, `Some(None)` for none, `None` while that is open.
#[allow(clippy::option_option)]
pub(crate) fn http_version(bytes: &[u8]) -> Option<Option<&'static str>> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    if bytes.starts_with(PREFACE) {
        return Some(Some("h2c"));
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    let method = bytes.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    match bytes.get(method) {
        None if method <= MAX_METHOD => None,
        Some(b' ') if (3..=MAX_METHOD).contains(&method) => Some(Some("http/1.1")),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use std::sync::Arc;

    /// The ClientHello of a client that asks for this name and protocol.
    fn hello(name: &str, alpn: &[u8]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_client_hello_tells_name_and_protocols_once_it_is_whole() {
        let bytes = hello("Reviews.default", b"istio");
        assert!(bytes.len() > 1400, "a post-quantum hello spans segments");
        for cut in [1, 5, 100, 1400, bytes.len() - 1] {
            assert_eq!(client_hello(&bytes[..cut]).unwrap(), None, "at {cut}");
        }
        let told = client_hello(&bytes).unwrap().unwrap();
        assert_eq!(told.server_name.as_deref(), Some("reviews.default"));
        assert_eq!(told.application_protocols, ["istio"]);
        assert_eq!(told.transport, TransportProtocol::Tls);
    }

    /// CVE-2020-8660: TLS 1.3 only, and in several records (RFC 8446 section 5.1).
    #[test]
    fn a_hello_in_several_records_is_recognised() {
        let whole = hello("reviews.default", b"h2");
        let (header, content) = whole.split_at(5);
        for size in [1, 50, 700, content.len() - 1] {
            let record = |piece: &[u8]| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&header[..3], &length, piece].concat()
            };
            let records: Vec<u8> = content.chunks(size).flat_map(record).collect();
            let told = client_hello(&records).unwrap().expect("it is whole");
            assert_eq!(told.server_name.as_deref(), Some("reviews.default"), "records of {size}");
            assert_eq!(client_hello(&records[..records.len() - 1]).unwrap(), None, "records of {size}");
        }
    }

    #[test]
    fn plaintext_http_is_told_from_other_bytes() {
        let version = |bytes: &[u8]| http_version(bytes).unwrap();
        assert_eq!(version(b"GET / HTTP/1.1\r\n"), Some("http/1.1"));
        assert_eq!(version(b"PRI * HTTP/2.0\r\n\r\nSM"), Some("h2c"));
        assert_eq!(version(b"\x00\x01\x02"), None);
        assert_eq!(version(b"SSH-2.0-x"), None);
        // The first segment may be cut anywhere.
        for beginning in [&b""[..], b"P", b"PRI * HTTP/2", b"G", b"GET", b"OPTIONS"] {
            assert_eq!(http_version(beginning), None);
        }
    }

    #[tokio::test]
    async fn a_hello_that_never_comes_whole_ends_with_the_connection() {
        use tokio::io::AsyncWriteExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(&[HANDSHAKE_RECORD]).await.unwrap();
        drop(client);
        assert!(tls(&mut server, &mut BytesMut::new(), &mut Sniffed::nothing()).await.is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_first_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..200)) {
            let _ = client_hello(&bytes);
            let _ = http_version(&bytes);
        }
    }
}
