//! Where a Consul server is and how it is spoken to: a URL, whose query holds the settings, and the environment
//! variables that Consul's own command line knows.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

/// How one Consul is reached and read.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsulOptions {
    /// `http://host:port` or `https://host:port`.
    pub(super) address: String,
    pub(super) token: Option<Token>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    /// The datacenter to read; that of the server asked, where none is given.
    pub(super) datacenter: Option<String>,
    /// Of Consul Enterprise.
    pub(super) namespace: Option<String>,
    /// Of Consul Enterprise.
    pub(super) partition: Option<String>,
    /// Whether any server may answer, not only the leader.
    pub(super) stale: bool,
    /// Whether endpoints are at their `wan` addresses.
    pub(super) wan: bool,
    /// Connections to hold open at most.
    pub(super) max_connections: usize,
    /// How long a blocking query blocks.
    pub(super) wait: Duration,
}

/// An ACL token, which no log or error may show.
#[derive(Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    /// Read again for each new connection, so that a token can be replaced.
    File(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("a token"),
            Self::File(path) => write!(f, "the token in {}", path.display()),
        }
    }
}

/// The settings that are taken from the environment where the URL says nothing; pure data, so that a test can make it.
#[derive(Clone, Default)]
pub struct ConsulEnvironment(Vec<(String, String)>);

/// What is wrong with the settings, in words for who gave them.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    #[error("{0:?} is no URL of a Consul server: {1}; give http://HOST:PORT or https://HOST:PORT")]
    Url(String, String),
    #[error("{name}={value}: {rule}")]
    Setting { name: String, value: String, rule: &'static str },
    #[error("{0:?} is no setting of a Consul registry; there are {settings}", settings = SETTINGS)]
    Unknown(String),
    #[error("{0} is set, which weft does not honour: {1}")]
    Variable(&'static str, &'static str),
    #[error("{path} cannot be used as {what}: {reason}", path = .path.display())]
    File { path: PathBuf, what: &'static str, reason: String },
    #[error("the ACL token holds characters that no HTTP header may hold")]
    Token,
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

const SETTINGS: &str = "token, token-file, ca-file, cert-file, key-file, datacenter, namespace, partition, stale, \
                        address, max-connections, wait";

/// Below Consul's default of `limits.http_max_conns_per_client`, which is 200.
const MAX_CONNECTIONS: usize = 150;
/// Consul's own longest is ten minutes; proxies between cut what is silent for a minute.
const WAIT: Duration = Duration::from_secs(55);

/// Variables of Consul's command line that would change where or how safely it connects.
const REFUSED: [(&str, &str); 4] = [
    ("CONSUL_HTTP_SSL_VERIFY", "certificates are always verified; name the authority with ca-file or CONSUL_CACERT"),
    ("CONSUL_TLS_SERVER_NAME", "use the server's name in the URL"),
    ("CONSUL_CAPATH", "name one file of certificates with ca-file or CONSUL_CACERT"),
    ("CONSUL_HTTP_AUTH", "use an ACL token"),
];

impl ConsulEnvironment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars().filter(|(name, value)| name.starts_with("CONSUL_") && !value.is_empty()).collect())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }
}

impl ConsulOptions {
    /// Reads a URL such as `https://consul.example:8501?ca-file=/etc/consul/ca.pem&datacenter=east`.
    pub fn parse(text: &str, environment: &ConsulEnvironment) -> Result<Self, ConsulError> {
        let shown = || {
            let place = text.split('?').next().unwrap_or_default();
            place.rsplit('@').next().unwrap_or_default().to_owned()
        };
        let url = Url::parse(text).map_err(|error| ConsulError::Url(shown(), error.to_string()))?;
        let wrong = |reason: &str| ConsulError::Url(shown(), reason.to_owned());
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("the scheme is neither http nor https"));
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(wrong("it has a path"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConsulError::Url("…".into(), "it has a user and password".into()));
        }
        let mut options = Self::of_environment(url.origin().ascii_serialization(), environment)?;
        for (name, value) in url.query_pairs() {
            options.set(&name, &value)?;
        }
        options.check()
    }

    fn of_environment(address: String, environment: &ConsulEnvironment) -> Result<Self, ConsulError> {
        if let Some((name, advice)) = REFUSED.into_iter().find(|(name, _)| environment.text(name).is_some()) {
            return Err(ConsulError::Variable(name, advice));
        }
        let token = environment.text("CONSUL_HTTP_TOKEN").map(Token::Text);
        Ok(Self {
            address,
            token: token.or_else(|| environment.path("CONSUL_HTTP_TOKEN_FILE").map(Token::File)),
            ca_file: environment.path("CONSUL_CACERT"),
            cert_file: environment.path("CONSUL_CLIENT_CERT"),
            key_file: environment.path("CONSUL_CLIENT_KEY"),
            datacenter: None,
            namespace: environment.text("CONSUL_NAMESPACE"),
            partition: environment.text("CONSUL_PARTITION"),
            stale: false,
            wan: false,
            max_connections: MAX_CONNECTIONS,
            wait: WAIT,
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ConsulError> {
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        let wrong = |rule| ConsulError::Setting { name: name.into(), value: value.into(), rule };
        match name {
            "token" => self.token = text().map(Token::Text),
            "token-file" => self.token = text().map(|path| Token::File(path.into())),
            "ca-file" => self.ca_file = text().map(PathBuf::from),
            "cert-file" => self.cert_file = text().map(PathBuf::from),
            "key-file" => self.key_file = text().map(PathBuf::from),
            "datacenter" => self.datacenter = text(),
            "namespace" => self.namespace = text(),
            "partition" => self.partition = text(),
            "stale" => self.stale = value.parse().map_err(|_| wrong("it is true or false"))?,
            "address" => {
                self.wan = match value {
                    "lan" => false,
                    "wan" => true,
                    _ => return Err(wrong("it is lan or wan")),
                }
            }
            "max-connections" => {
                let number = value.parse().ok().filter(|number| (4..=10_000).contains(number));
                self.max_connections = number.ok_or_else(|| wrong("it is a number from 4 to 10000"))?;
            }
            "wait" => {
                let seconds = value.strip_suffix('s').and_then(|number| number.parse().ok());
                let seconds = seconds.filter(|seconds| (1..=600).contains(seconds));
                self.wait = Duration::from_secs(seconds.ok_or_else(|| wrong("it is 1s to 600s"))?);
            }
            _ => return Err(ConsulError::Unknown(name.into())),
        }
        Ok(())
    }

    fn check(self) -> Result<Self, ConsulError> {
        let alone = |name: &str, given: &Option<PathBuf>, rule| match given {
            Some(path) => Err(ConsulError::Setting { name: name.into(), value: path.display().to_string(), rule }),
            None => Ok(()),
        };
        if self.key_file.is_none() {
            alone("cert-file", &self.cert_file, "a client certificate needs its key, in key-file")?;
        }
        if self.cert_file.is_none() {
            alone("key-file", &self.key_file, "a key needs its client certificate, in cert-file")?;
        }
        if self.address.starts_with("http://") {
            let rule = "certificates are of use with an https:// URL only";
            alone("ca-file", &self.ca_file, rule)?;
            alone("cert-file", &self.cert_file, rule)?;
        }
        Ok(self)
    }

    pub(super) fn is_https(&self) -> bool {
        self.address.starts_with("https://")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConsulOptions, String> {
        ConsulOptions::parse(text, &ConsulEnvironment::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_holds_all_settings() {
        let text = "https://consul.example:8501/?token-file=/t&ca-file=/ca&cert-file=/c&key-file=/k&datacenter=east\
                    &namespace=shop&partition=p1&stale=true&address=wan&max-connections=500&wait=20s";
        let options = parse(text).unwrap();
        assert_eq!(options.address, "https://consul.example:8501");
        assert_eq!(options.token, Some(Token::File("/t".into())));
        assert_eq!((options.datacenter.as_deref(), options.namespace.as_deref()), (Some("east"), Some("shop")));
        assert!(options.stale && options.wan && options.is_https());
        assert_eq!((options.max_connections, options.wait), (500, Duration::from_secs(20)));
    }

    #[test]
    fn a_setting_that_is_wrong_is_named() {
        assert!(parse("consul.example:8500").unwrap_err().contains("neither http nor https"));
        assert!(parse("http://c:1?tokenfile=/t").unwrap_err().starts_with("\"tokenfile\" is no setting"));
        assert_eq!(parse("http://c:1?wait=soon").unwrap_err(), "wait=soon: it is 1s to 600s");
        assert!(parse("https://c:1?cert-file=/c").unwrap_err().contains("needs its key"));
        assert!(parse("http://c:1?ca-file=/c").unwrap_err().contains("https:// URL only"));
    }

    #[test]
    fn the_environment_of_consuls_command_line_counts_where_the_url_is_silent() {
        let environment = ConsulEnvironment(vec![
            ("CONSUL_HTTP_TOKEN".into(), "secret".into()),
            ("CONSUL_NAMESPACE".into(), "shop".into()),
        ]);
        let options = ConsulOptions::parse("http://c:1?namespace=other", &environment).unwrap();
        assert_eq!(options.token, Some(Token::Text("secret".into())));
        assert_eq!(options.namespace.as_deref(), Some("other"));
        let refused = ConsulEnvironment(vec![("CONSUL_HTTP_SSL_VERIFY".into(), "false".into())]);
        let error = ConsulOptions::parse("http://c:1", &refused).unwrap_err().to_string();
        assert!(error.starts_with("CONSUL_HTTP_SSL_VERIFY is set"), "{error}");
    }

    #[test]
    fn nothing_shows_the_token() {
        let options = parse("http://c:1?token=secret").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
        let error = parse("c:1?token=secret").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let error = parse("http://me:secret@c:1").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
