//! The names that Envoy gives metrics, from those that Prometheus is shown.

/// The dotted name of a metric with these labels, and the labels that are no part of it:
/// `envoy_cluster_upstream_rq_xx` with `envoy_cluster_name="a",envoy_response_code_class="2"` is
/// `cluster.a.upstream_rq_2xx`.
pub fn dotted<'a>(metric: &str, labels: &'a str) -> (String, Vec<(&'a str, String)>) {
    let (mut name, mut place, mut more) = (metric.to_owned(), None, Vec::new());
    for (label, value) in labels_of(labels) {
        match label {
            "envoy_cluster_name" => place = Some(("cluster", value)),
            "envoy_listener_address" => place = Some(("listener", value.replace(':', "_"))),
            "envoy_http_conn_manager_prefix" => place = Some(("http", value)),
            "envoy_tcp_prefix" => place = Some(("tcp", value)),
            "envoy_response_code_class" => name = name.replace("_xx", &format!("_{value}xx")),
            "envoy_response_code" => name = format!("{name}_{value}"),
            _ => more.push((label, value)),
        }
    }
    let name = name.strip_prefix("envoy_").unwrap_or(&name);
    let name = match place {
        Some((of, value)) => {
            let rest = name.strip_prefix(of).map_or(name, |rest| rest.trim_start_matches('_'));
            format!("{of}.{value}.{rest}")
        }
        None => name.to_owned(),
    };
    (name, more)
}

/// The labels between the braces. A value may hold anything, with quotes escaped.
pub fn labels_of(mut labels: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    while let Some((label, rest)) = labels.split_once("=\"") {
        let (mut value, mut escaped, mut end) = (String::new(), false, rest.len());
        for (at, c) in rest.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, c) => value.push(c),
                (false, '\\') => {}
                (false, '"') => {
                    end = at;
                    break;
                }
                (false, c) => value.push(c),
            }
            escaped = !escaped && c == '\\';
        }
        found.push((label.trim_start_matches(','), value));
        labels = rest.get(end + 1..).unwrap_or_default();
    }
    found
}
