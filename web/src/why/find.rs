//! The lookup of a route as Envoy does it: the virtual host by the most specific domain, then the first route whose
//! conditions all hold.

use api::envoy::config::route::v3 as route;
use api::envoy::r#type::matcher::v3 as matcher;
use api::prost::Message as _;
use matcher::string_matcher::MatchPattern;
use pilot::{Node, NodeKind, Snapshot};
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::PathSpecifier;
use route::{HeaderMatcher, QueryParameterMatcher, Route, RouteConfiguration, RouteMatch, VirtualHost};

use super::Asked;

/// The explicit HTTP proxy's route table.
const HTTP_PROXY: &str = "http_proxy";
const PLAIN_HTTP: u16 = 80;

/// The table that a request of this caller is looked up in.
pub fn table(node: &Node, snapshot: &Snapshot, asked: &Asked) -> Option<RouteConfiguration> {
    let port = asked.port.unwrap_or(PLAIN_HTTP);
    let by_name = |name: &str| {
        let resource = snapshot.routes.get(name)?;
        RouteConfiguration::decode(resource.any.value.as_slice()).ok()
    };
    if node.kind == NodeKind::Sidecar {
        let captured = node.capture.and_then(|_| by_name(&port.to_string()));
        return captured.or_else(|| by_name(HTTP_PROXY));
    }
    let prefix = if asked.scheme == "https" { format!("https.{port}.") } else { format!("http.{port}") };
    let exact = by_name(&prefix);
    let tables = || snapshot.routes.iter().map(|resource| &*resource.name);
    // A gateway is mostly asked by its host alone: any of its ports that knows the host will do.
    let of_port = || tables().find(|name| name.starts_with(&prefix)).and_then(by_name);
    let knows = |table: &RouteConfiguration| virtual_host(table, &asked.authority()).is_some();
    let any = || tables().filter_map(by_name).find(knows);
    exact.or_else(of_port).or_else(|| if asked.port.is_none() { any() } else { None })
}

/// The virtual host of an authority, and the domain by which: an exact one, else the longest that ends alike, else the
/// longest that begins alike, else `*`.
pub fn virtual_host<'t>(table: &'t RouteConfiguration, authority: &str) -> Option<(&'t VirtualHost, &'t str)> {
    let without_port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let authority = match (table.ignore_port_in_host_matching, without_port) {
        (true, Some((host, _))) => host,
        _ => authority,
    };
    let domains = table.virtual_hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (host, &**domain)));
    let rank = |domain: &str| -> Option<(u8, usize)> {
        let lower = domain.to_ascii_lowercase();
        let longer = |part: &str| authority.len() > part.len();
        match () {
            () if lower == authority => Some((3, lower.len())),
            () if lower == "*" => Some((0, 0)),
            () if lower.strip_prefix('*').is_some_and(|end| longer(end) && authority.ends_with(end)) => {
                Some((2, lower.len()))
            }
            () if lower.strip_suffix('*').is_some_and(|start| longer(start) && authority.starts_with(start)) => {
                Some((1, lower.len()))
            }
            () => None,
        }
    };
    domains
        .filter_map(|(host, domain)| Some((rank(domain)?, host, domain)))
        .max_by_key(|(rank, ..)| *rank)
        .map(|(_, host, domain)| (host, domain))
}

/// The first route that takes the request; those before it are told with the condition that did not hold.
pub fn route<'h>(host: &'h VirtualHost, asked: &Asked, passed: &mut Vec<String>) -> Option<&'h Route> {
    for (index, route) in host.routes.iter().enumerate() {
        let empty = RouteMatch::default();
        match refusal(route.r#match.as_ref().unwrap_or(&empty), asked) {
            None => return Some(route),
            Some(why) => passed.push(format!("{}: {why}", name(route, index))),
        }
    }
    None
}

/// What people call a route.
pub fn name(route: &Route, index: usize) -> String {
    if route.name.is_empty() { format!("route {index}") } else { format!("route {:?}", route.name) }
}

/// The first condition that does not hold.
fn refusal(conditions: &RouteMatch, asked: &Asked) -> Option<String> {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let sensitive = conditions.case_sensitive.unwrap_or(true);
    if !path_holds(conditions.path_specifier.as_ref(), path, &asked.method, sensitive) {
        return Some(format!("its path is {}", shown(conditions.path_specifier.as_ref())));
    }
    if let Some(header) = conditions.headers.iter().find(|header| !header_holds(header, asked)) {
        let not = if header.invert_match { "not " } else { "" };
        return Some(format!("it wants the header {} {not}{}", header.name, wanted(header)));
    }
    let query = conditions.query_parameters.iter().find(|wanted| !query_holds(wanted, query));
    query.map(|wanted| format!("it wants the query parameter {}", wanted.name))
}

fn path_holds(specifier: Option<&PathSpecifier>, path: &str, method: &str, sensitive: bool) -> bool {
    let fold = |text: &str| if sensitive { text.to_owned() } else { text.to_ascii_lowercase() };
    let given = fold(path);
    match specifier {
        None => true,
        Some(PathSpecifier::Prefix(prefix)) => given.starts_with(&fold(prefix)),
        Some(PathSpecifier::Path(exact)) => given == fold(exact),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            given.strip_prefix(&fold(prefix)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Some(PathSpecifier::SafeRegex(pattern)) => whole(&pattern.regex, path),
        Some(PathSpecifier::ConnectMatcher(_)) => method == "CONNECT",
        Some(PathSpecifier::PathMatchPolicy(_)) => false,
    }
}

/// A pattern takes the whole text, as in Envoy.
fn whole(pattern: &str, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(text))
}

fn header_holds(header: &HeaderMatcher, asked: &Asked) -> bool {
    let name = header.name.to_ascii_lowercase();
    let value = match name.as_str() {
        ":method" => Some(asked.method.clone()),
        ":path" => Some(asked.path.clone()),
        ":scheme" => Some(asked.scheme.clone()),
        ":authority" | "host" => Some(asked.authority()),
        name => asked.headers.get(name).cloned(),
    };
    let value = if header.treat_missing_header_as_empty { Some(value.unwrap_or_default()) } else { value };
    let holds = match (&header.header_match_specifier, &value) {
        (None, value) => value.is_some(),
        (Some(HeaderMatchSpecifier::PresentMatch(wanted)), value) => value.is_some() == *wanted,
        // What is not there meets no condition, inverted or not.
        (Some(_), None) => return false,
        (Some(HeaderMatchSpecifier::StringMatch(wanted)), Some(value)) => string_holds(wanted, value),
        (Some(HeaderMatchSpecifier::RangeMatch(range)), Some(value)) => {
            value.parse().is_ok_and(|number: i64| (range.start..range.end).contains(&number))
        }
        // The old forms are not what pilot compiles.
        (Some(_), Some(_)) => false,
    };
    holds != header.invert_match
}

fn string_holds(wanted: &matcher::StringMatcher, value: &str) -> bool {
    let fold = |text: &str| if wanted.ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    let given = fold(value);
    match &wanted.match_pattern {
        Some(MatchPattern::Exact(text)) => given == fold(text),
        Some(MatchPattern::Prefix(text)) => given.starts_with(&fold(text)),
        Some(MatchPattern::Suffix(text)) => given.ends_with(&fold(text)),
        Some(MatchPattern::Contains(text)) => given.contains(&fold(text)),
        Some(MatchPattern::SafeRegex(pattern)) => whole(&pattern.regex, value),
        _ => false,
    }
}

fn query_holds(wanted: &QueryParameterMatcher, query: &str) -> bool {
    let mut given = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = given.find(|(name, _)| *name == wanted.name).map(|(_, value)| value);
    match (&wanted.query_parameter_match_specifier, value) {
        (None, value) => value.is_some(),
        (Some(QueryParameterMatchSpecifier::PresentMatch(present)), value) => value.is_some() == *present,
        (Some(QueryParameterMatchSpecifier::StringMatch(wanted)), Some(value)) => string_holds(wanted, value),
        (Some(QueryParameterMatchSpecifier::StringMatch(_)), None) => false,
    }
}

fn shown(specifier: Option<&PathSpecifier>) -> String {
    match specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => format!("{prefix}…"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(pattern)) => format!("~ {}", pattern.regex),
        Some(PathSpecifier::ConnectMatcher(_)) => "of CONNECT".into(),
        _ => "any".into(),
    }
}

fn wanted(header: &HeaderMatcher) -> String {
    match &header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(wanted)) => match &wanted.match_pattern {
            Some(MatchPattern::Exact(text)) => format!("{text:?}"),
            Some(MatchPattern::Prefix(text)) => format!("{text:?}…"),
            Some(MatchPattern::SafeRegex(pattern)) => format!("~ {}", pattern.regex),
            _ => "of another value".into(),
        },
        _ => "to be there".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(domains: &[&str]) -> RouteConfiguration {
        let host = |domain: &&str| VirtualHost {
            name: (*domain).to_owned(),
            domains: vec![(*domain).to_owned()],
            ..Default::default()
        };
        RouteConfiguration { virtual_hosts: domains.iter().map(host).collect(), ..Default::default() }
    }

    #[test]
    fn the_most_specific_domain_decides() {
        let mut table = table(&["*", "*.example.com", "*.a.example.com", "api.example.com", "api.*"]);
        let by = |table: &RouteConfiguration, name: &str| virtual_host(table, name).unwrap().1.to_owned();
        assert_eq!(by(&table, "api.example.com"), "api.example.com");
        assert_eq!(by(&table, "x.a.example.com"), "*.a.example.com");
        assert_eq!(by(&table, "api.other"), "api.*");
        assert_eq!(by(&table, "other"), "*");
        assert_eq!(by(&table, "api.example.com:80"), "api.*");
        table.ignore_port_in_host_matching = true;
        assert_eq!(by(&table, "api.example.com:80"), "api.example.com");
    }

    #[test]
    fn the_first_route_whose_conditions_hold_is_taken_and_the_others_say_why_not() {
        let exact = |name: &str, value: &str| HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher::StringMatcher {
                match_pattern: Some(MatchPattern::Exact(value.to_owned())),
                ..Default::default()
            })),
            ..Default::default()
        };
        let route_of = |name: &str, path: PathSpecifier, headers: Vec<HeaderMatcher>| Route {
            name: name.to_owned(),
            r#match: Some(RouteMatch { path_specifier: Some(path), headers, ..Default::default() }),
            ..Default::default()
        };
        let prefix = |text: &str| PathSpecifier::Prefix(text.to_owned());
        let routes = vec![
            route_of("admin", prefix("/admin"), Vec::new()),
            route_of("jason", prefix("/"), vec![exact("end-user", "jason")]),
            route_of("rest", prefix("/"), Vec::new()),
        ];
        let host = VirtualHost { routes, ..Default::default() };
        let mut asked = Asked {
            host: "a".into(),
            port: None,
            scheme: "http".into(),
            method: "GET".into(),
            path: "/x?y=1".into(),
            headers: Default::default(),
        };
        let mut passed = Vec::new();
        assert_eq!(route(&host, &asked, &mut passed).unwrap().name, "rest");
        assert_eq!(
            passed,
            ["route \"admin\": its path is /admin…", "route \"jason\": it wants the header end-user \"jason\""]
        );
        asked.headers.insert("end-user".into(), "jason".into());
        assert_eq!(route(&host, &asked, &mut Vec::new()).unwrap().name, "jason");
    }
}
