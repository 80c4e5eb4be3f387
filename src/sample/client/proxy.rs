//! Which requests go through the proxy that `http_proxy` and `no_proxy` describe.

use anyhow::Context;
use hyper::Uri;

/// The proxy for plain HTTP requests, if there is one, and the hosts that are reached without it.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    address: Option<(String, u16)>,
    direct: Vec<String>,
}

impl Proxy {
    /// Reads `http_proxy` and `no_proxy`; each also counts in upper case, the lower case goes first.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let value = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_uppercase()));
            found.filter(|value| !value.trim().is_empty())
        };
        let address = value("http_proxy").map(|url| parse(url.trim())).transpose()?;
        let direct = value("no_proxy").unwrap_or_default();
        let direct = direct.split(',').map(|host| host.trim().trim_start_matches('.').to_lowercase());
        Ok(Self { address, direct: direct.filter(|host| !host.is_empty()).collect() })
    }

    /// The proxy's host and port when a request to `host` goes through it.
    pub fn applies_to(&self, host: &str) -> Option<(&str, u16)> {
        let host = host.to_lowercase();
        let direct = self.direct.iter().any(|entry| entry == "*" || covers(entry, &host));
        let (address, port) = self.address.as_ref().filter(|_| !direct)?;
        Some((address, *port))
    }
}

/// Whether a `no_proxy` entry names the host or a domain that it is in.
fn covers(entry: &str, host: &str) -> bool {
    host.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn parse(text: &str) -> anyhow::Result<(String, u16)> {
    let wrong = || format!("http_proxy={text} is not a URL such as http://127.0.0.11:15088");
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = url.parse().with_context(wrong)?;
    anyhow::ensure!(url.scheme_str() == Some("http"), wrong());
    let host = url.host().with_context(wrong)?.trim_matches(['[', ']']);
    Ok((host.to_owned(), url.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::Proxy;

    fn proxy(variables: &[(&str, &str)]) -> anyhow::Result<Proxy> {
        Proxy::from_environment(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_means_direct() {
        assert_eq!(proxy(&[]).unwrap().applies_to("details"), None);
        assert_eq!(proxy(&[("http_proxy", "")]).unwrap().applies_to("details"), None);
    }

    #[test]
    fn url_and_bare_address_are_taken_in_either_case() {
        for variable in [("http_proxy", "http://127.0.0.11:15088/"), ("HTTP_PROXY", "127.0.0.11:15088")] {
            assert_eq!(proxy(&[variable]).unwrap().applies_to("details"), Some(("127.0.0.11", 15088)));
        }
    }

    #[test]
    fn hosts_and_domains_of_no_proxy_go_direct() {
        let proxy = proxy(&[("http_proxy", "http://p:1"), ("no_proxy", "localhost, 127.0.0.1,.example.com")]).unwrap();
        for direct in ["localhost", "127.0.0.1", "LOCALHOST", "example.com", "api.example.com"] {
            assert_eq!(proxy.applies_to(direct), None, "{direct}");
        }
        for proxied in ["details", "badexample.com", "10.127.0.0.11"] {
            assert_eq!(proxy.applies_to(proxied), Some(("p", 1)), "{proxied}");
        }
    }

    #[test]
    fn a_value_that_is_no_url_says_what_one_looks_like() {
        let error = proxy(&[("http_proxy", "https://secure:1")]).unwrap_err().to_string();
        assert!(error.contains("such as http://"), "{error}");
    }
}
