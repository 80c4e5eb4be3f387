//! VirtualServices of a case.

use galley::kinds::{
    Abort, AbortStatus, Cors, Delay, Delegate, Destination, DirectBody, DirectResponse, Fault, HeaderOps, Headers,
    HttpAction, HttpDestination, HttpMatch, HttpRoute, L4Match, Mirror, Pattern, Percent, Redirect, RedirectPath,
    RedirectPort, RegexRewrite, Retries, Rewrite, StringMatch, TcpRoute, TlsRoute, UnmatchedPreflights, VirtualService,
    WeightedDestination,
};
use serde_json::Value;

use super::value::Fields;

pub fn read(spec: &Value, namespace: &str) -> VirtualService {
    let gateways = gateways(spec, namespace);
    VirtualService {
        hosts: spec.texts("hosts"),
        gateways: if gateways.is_empty() { vec![VirtualService::MESH.into()] } else { gateways },
        http: spec.list("http").into_iter().map(|route| http(route, namespace)).collect(),
        tls: spec
            .list("tls")
            .into_iter()
            .map(|route| TlsRoute { matches: l4_matches(route, namespace), route: weighted(route) })
            .collect(),
        tcp: spec
            .list("tcp")
            .into_iter()
            .map(|route| TcpRoute { matches: l4_matches(route, namespace), route: weighted(route) })
            .collect(),
        export_to: spec.export_to(namespace),
    }
}

fn gateways(of: &Value, namespace: &str) -> Vec<String> {
    let complete = |name: String| {
        if name == VirtualService::MESH || name.contains('/') { name } else { format!("{namespace}/{name}") }
    };
    of.texts("gateways").into_iter().map(complete).collect()
}

fn http(of: &Value, namespace: &str) -> HttpRoute {
    let single = of.some("mirror").map(|mirror| Mirror {
        destination: destination(mirror),
        percentage: of.percent("mirrorPercentage").unwrap_or(Percent::ALL),
    });
    let several = of.list("mirrors").into_iter().map(|mirror| Mirror {
        destination: destination(mirror.at("destination")),
        percentage: mirror.percent("percentage").unwrap_or(Percent::ALL),
    });
    HttpRoute {
        name: of.text("name"),
        matches: of.list("match").into_iter().map(|m| http_match(m, namespace)).collect(),
        action: action(of, namespace),
        rewrite: of.some("rewrite").map(rewrite),
        timeout: of.duration("timeout"),
        retries: of.some("retries").map(retries),
        fault: of.some("fault").map(fault),
        mirrors: single.into_iter().chain(several).collect(),
        cors: of.some("corsPolicy").map(cors),
        headers: headers(of.at("headers")),
    }
}

fn http_match(of: &Value, namespace: &str) -> HttpMatch {
    HttpMatch {
        name: of.text("name"),
        uri: of.string_match("uri"),
        ignore_uri_case: of.at("ignoreUriCase").as_bool().unwrap_or_default(),
        scheme: of.string_match("scheme"),
        method: of.string_match("method"),
        authority: of.string_match("authority"),
        headers: of.header_matches("headers"),
        without_headers: of.header_matches("withoutHeaders"),
        query_params: of.header_matches("queryParams"),
        port: of.port("port"),
        source_labels: of.labels("sourceLabels"),
        source_namespace: of.text("sourceNamespace"),
        gateways: gateways(of, namespace),
        stat_prefix: of.text("statPrefix"),
    }
}

fn action(of: &Value, namespace: &str) -> HttpAction {
    if let Some(redirect) = of.some("redirect") {
        HttpAction::Redirect(Redirect {
            path: redirect.some_text("uri").map(RedirectPath::Full),
            authority: redirect.text("authority"),
            port: redirect.port("port").map(RedirectPort::Number),
            scheme: redirect.text("scheme"),
            code: redirect.port("redirectCode").unwrap_or(301),
        })
    } else if let Some(direct) = of.some("directResponse") {
        let body = direct.at("body").some_text("string").map(DirectBody::Text);
        HttpAction::Direct(DirectResponse { status: direct.port("status").unwrap(), body })
    } else if let Some(to) = of.some("delegate") {
        let namespace = to.some_text("namespace").unwrap_or_else(|| namespace.into());
        HttpAction::Delegate(Delegate { name: to.text("name"), namespace })
    } else {
        HttpAction::Route(of.list("route").into_iter().map(http_destination).collect())
    }
}

fn http_destination(of: &Value) -> HttpDestination {
    HttpDestination {
        destination: destination(of.at("destination")),
        weight: of.number("weight").unwrap_or_default(),
        headers: headers(of.at("headers")),
    }
}

fn destination(of: &Value) -> Destination {
    Destination { host: of.text("host"), subset: of.some_text("subset"), port: of.at("port").port("number") }
}

fn headers(of: &Value) -> Headers {
    let ops = |of: &Value| HeaderOps { set: of.labels("set"), add: of.labels("add"), remove: of.texts("remove") };
    Headers { request: ops(of.at("request")), response: ops(of.at("response")) }
}

fn rewrite(of: &Value) -> Rewrite {
    let regex = of.some("uriRegexRewrite").map(|regex| RegexRewrite {
        pattern: Pattern::new(&regex.text("match")).unwrap(),
        substitution: regex.text("rewrite"),
    });
    Rewrite { uri: of.some_text("uri"), uri_regex: regex, authority: of.some_text("authority") }
}

fn retries(of: &Value) -> Retries {
    Retries {
        attempts: of.number("attempts").unwrap_or(2),
        per_try_timeout: of.duration("perTryTimeout"),
        retry_on: of.text("retryOn"),
        remote_localities: of.at("retryRemoteLocalities").as_bool(),
        ignore_previous_hosts: of.at("retryIgnorePreviousHosts").as_bool().unwrap_or(true),
        backoff: of.duration("backoff"),
    }
}

fn fault(of: &Value) -> Fault {
    Fault {
        delay: of.some("delay").map(|delay| Delay {
            fixed: delay.duration("fixedDelay").unwrap(),
            percentage: delay.percent("percentage").unwrap_or_default(),
        }),
        abort: of.some("abort").map(|abort| Abort {
            status: AbortStatus::Http(abort.port("httpStatus").unwrap()),
            percentage: abort.percent("percentage").unwrap_or_default(),
        }),
    }
}

fn cors(of: &Value) -> Cors {
    let origin = |value: &Value| {
        let exact = value.some_text("exact").map(StringMatch::Exact);
        exact.or_else(|| value.some_text("prefix").map(StringMatch::Prefix)).unwrap()
    };
    Cors {
        allow_origins: of.list("allowOrigins").into_iter().map(origin).collect(),
        allow_methods: of.texts("allowMethods"),
        allow_headers: of.texts("allowHeaders"),
        expose_headers: of.texts("exposeHeaders"),
        max_age: of.duration("maxAge"),
        allow_credentials: of.at("allowCredentials").as_bool(),
        unmatched_preflights: UnmatchedPreflights::Forward,
    }
}

fn l4_matches(of: &Value, namespace: &str) -> Vec<L4Match> {
    let read = |of: &Value| L4Match {
        sni_hosts: of.texts("sniHosts"),
        port: of.port("port"),
        source_labels: of.labels("sourceLabels"),
        gateways: gateways(of, namespace),
        ..L4Match::default()
    };
    of.list("match").into_iter().map(read).collect()
}

fn weighted(of: &Value) -> Vec<WeightedDestination> {
    let read = |of: &Value| WeightedDestination {
        destination: destination(of.at("destination")),
        weight: of.number("weight").unwrap_or_default(),
    };
    of.list("route").into_iter().map(read).collect()
}
