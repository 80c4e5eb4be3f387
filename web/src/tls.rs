//! TLS for an API that is reached from other machines: a certificate from files, read anew when they change.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take to agree on TLS, and how many may be about to.
const HANDSHAKE: Duration = Duration::from_secs(10);
const WAITING: usize = 256;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct TlsFileError {
    path: PathBuf,
    cause: String,
}

/// What the API shows to its clients. Cloning shares.
#[derive(Clone)]
pub struct ApiTls {
    config: Arc<ServerConfig>,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl ApiTls {
    /// Reads certificate chain and key, in PEM.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsFileError> {
        let read = load(certificate, key)?;
        let current = Mutex::new((changed_at(certificate), read));
        let files = Arc::new(Files { certificate: certificate.to_owned(), key: key.to_owned(), current });
        let failed = |error: rustls::Error| TlsFileError { path: certificate.to_owned(), cause: error.to_string() };
        let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(files.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), files })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// SHA-256 of the certificate in force, in hexadecimal: by it this machine's own verbs know the API.
    pub fn pin(&self) -> String {
        self.files.current.lock().1.cert.first().map(|leaf| citadel::sha256(leaf)).unwrap_or_default()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock();
        let changed = changed_at(&self.certificate);
        if changed.is_some() && changed != current.0 {
            match load(&self.certificate, &self.key) {
                Ok(read) => *current = (changed, read),
                // The two files are seldom replaced at once: it is tried again with the next client.
                Err(error) => tracing::warn!(%error, "the API keeps its old certificate"),
            }
        }
        Some(current.1.clone())
    }
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsFileError> {
    let failed =
        |path: &Path, cause: &dyn std::fmt::Display| TlsFileError { path: path.into(), cause: cause.to_string() };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| failed(certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(certificate, &"holds no certificate in PEM"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    certified
        .map(Arc::new)
        .map_err(|error| failed(key, &format!("does not go with {}: {error}", certificate.display())))
}

/// A socket whose clients have agreed on TLS before they are served; a slow one holds up no other.
pub struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    pub fn new(listener: TcpListener, tls: &ApiTls) -> io::Result<Self> {
        Self::with(listener, tls.config.clone())
    }

    pub fn with(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let (sender, accepted) = mpsc::channel(WAITING);
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, TlsAcceptor::from(config), sender));
        Ok(Self { address, accepted })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok(place) = accepted.clone().reserve_owned().await else { return };
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = accepted.closed() => return,
        };
        let Ok((stream, from)) = connection else {
            // As when there are too many open files.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(place.send((stream, from))),
                Ok(Err(error)) => tracing::debug!(%from, %error, "a client of the API does not agree on TLS"),
                Err(_) => tracing::debug!(%from, "a client of the API takes too long to agree on TLS"),
            }
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
