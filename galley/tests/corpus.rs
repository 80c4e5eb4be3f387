//! Specs that are taken and specs that are refused, one a line: `ok | spec`, `warn | finding | spec` or
//! `bad | finding | spec`. The finding is part of a diagnostic's line as an operator sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use galley::{Rejection, Snapshot};

fn document(kind: &str, group: &str, spec: &str) -> String {
    let (version, meta) = match kind {
        "MeshConfig" => ("v1alpha1", "{name: mesh, namespace: istio-system}"),
        _ => ("v1", "{name: it, namespace: shop}"),
    };
    format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {meta}\nspec: {spec}\n")
}

fn findings(text: &str) -> (bool, String) {
    match galley::check(text, "it.yaml") {
        Ok(warnings) => (true, Rejection { diagnostics: warnings }.to_string()),
        Err(rejection) => (false, rejection.to_string()),
    }
}

fn judge(kind: &str, group: &str, cases: &str) -> usize {
    let lines = cases.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    let mut wrong = Vec::new();
    for (number, line) in lines {
        count += 1;
        let mut parts = line.splitn(2, " | ");
        let (verdict, rest) = (parts.next().unwrap().trim(), parts.next().unwrap());
        let (finding, spec) = if verdict == "ok" { ("", rest) } else { rest.split_once(" | ").unwrap() };
        let (taken, said) = findings(&document(kind, group, spec));
        let right = match verdict {
            "ok" => taken && said.is_empty(),
            "warn" => taken && said.contains(finding),
            "bad" => !taken && said.contains(finding),
            other => panic!("{other:?} is no verdict"),
        };
        if !right {
            wrong.push(format!("{kind} line {}: {line}\n    taken: {taken}, said: {said}", number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    count
}

#[test]
fn every_case_is_judged_as_it_says() {
    const NETWORKING: &str = "networking.istio.io";
    const SECURITY: &str = "security.istio.io";
    let counts = [
        judge("VirtualService", NETWORKING, include_str!("corpus/virtual_service.txt")),
        judge("DestinationRule", NETWORKING, include_str!("corpus/destination_rule.txt")),
        judge("Gateway", NETWORKING, include_str!("corpus/gateway.txt")),
        judge("ServiceEntry", NETWORKING, include_str!("corpus/service_entry.txt")),
        judge("WorkloadEntry", NETWORKING, include_str!("corpus/workload_entry.txt")),
        judge("WorkloadGroup", NETWORKING, include_str!("corpus/workload_group.txt")),
        judge("PeerAuthentication", SECURITY, include_str!("corpus/peer_authentication.txt")),
        judge("RequestAuthentication", SECURITY, include_str!("corpus/request_authentication.txt")),
        judge("AuthorizationPolicy", SECURITY, include_str!("corpus/authorization_policy.txt")),
        judge("Telemetry", "telemetry.istio.io", include_str!("corpus/telemetry.txt")),
        judge("MeshConfig", "mesh.weft.dev", include_str!("corpus/mesh_config.txt")),
    ];
    assert!(counts.iter().sum::<usize>() >= 150, "{counts:?}");
}

#[test]
fn the_message_says_file_line_column_path_and_what_was_meant() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - route:
    - destination:
        hst: reviews
        subset: v1
      weigth: 90
    timeout: fast
";
    let rejection = Snapshot::parse(text, "reviews.yaml").unwrap_err();
    let lines: Vec<_> = rejection.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "reviews.yaml:11:9: spec.http[0].route[0].destination.hst: unknown field; did you mean \"host\"?",
            "reviews.yaml:13:7: spec.http[0].route[0].weigth: unknown field; did you mean \"weight\"?",
            "reviews.yaml:14:14: spec.http[0].timeout: \"fast\" is no duration such as \"10s\", \"1.5s\" or \"100ms\"",
        ]
    );
}

#[test]
fn findings_are_in_the_order_of_the_text_and_a_misspelt_field_is_not_also_missing() {
    let spec = "{servers: [{prt: {number: 80}, host: [a], tsl: 1}, {port: {nmae: x, number: 0}, hosts: [a]}]}";
    let (_, said) = findings(&document("Gateway", "networking.istio.io", spec));
    let lines: Vec<&str> = said.lines().collect();
    let column = |line: &&str| line.split(':').nth(2).unwrap().parse::<u32>().unwrap();
    assert!(lines.is_sorted_by_key(column), "{said}");
    for (name, count) in
        [("did you mean", 4), ("port is required", 0), ("name is required", 0), ("one host is required", 0)]
    {
        assert_eq!(said.matches(name).count(), count, "{name}: {said}");
    }
    assert_eq!(said.matches("protocol is required").count(), 1, "{said}");
}

#[test]
fn documents_that_are_not_ours_are_told_apart() {
    let of =
        |version: &str, kind: &str| findings(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"));
    let (taken, said) = of("v1", "Service");
    assert!(taken && said.contains("skipped: Service (v1)"), "{said}");
    for (version, kind, finding) in [
        ("networking.istio.io/v1", "Sidecar", "Sidecar (networking.istio.io/v1) is not supported"),
        ("mesh.weft.dev/v1alpha1", "MeshConfig", "the mesh has one MeshConfig, and its name is \"mesh\""),
        ("mesh.weft.dev/v1alpha1", "MeshConfig", "the mesh's settings are in namespace \"istio-system\""),
        ("networking.istio.io/v1", "VirtualServce", "did you mean \"VirtualService\"?"),
        ("networking.istio.io/v1", "Foo", "unknown kind \"Foo\"; there are VirtualService, DestinationRule, Gateway,"),
        ("networking.istio.io/v2", "VirtualService", "networking.istio.io has v1, v1beta1, v1alpha3"),
        ("security.istio.io/v1", "Gateway", "did you mean \"networking.istio.io/v1\"?"),
        ("networking.istio.oi/v1", "Gateway", "did you mean \"networking.istio.io\"?"),
    ] {
        let (taken, said) = of(version, kind);
        assert!(!taken && said.contains(finding), "{said}");
    }
}

#[test]
fn every_version_lists_and_bookkeeping_are_taken() {
    for version in ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"] {
        let text = format!(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: {version}\n  kind: DestinationRule\n  metadata:\n    \
             name: r\n    uid: x\n    resourceVersion: \"1\"\n    managedFields: []\n    creationTimestamp: null\n  \
             spec: {{host: r}}\n  status: {{}}\n"
        );
        assert_eq!(Snapshot::parse(&text, "list.yaml").unwrap().destination_rules.len(), 1);
    }
}

#[test]
fn only_what_allows_or_denies_is_tried() {
    let judged = |kind: &str, spec: &str, value: &str| {
        let meta = format!("{{name: it, annotations: {{istio.io/dry-run: \"{value}\"}}}}");
        let text = format!("apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {meta}\nspec: {spec}\n");
        (Snapshot::parse(&text, "it.yaml").map(|it| it.authorization_policies[0].meta.is_dry_run()), findings(&text).1)
    };
    for (value, tried) in [("true", true), ("false", false)] {
        assert_eq!(judged("AuthorizationPolicy", "{action: DENY, rules: [{}]}", value).0, Ok(tried));
    }
    for (kind, spec, value, finding) in [
        ("AuthorizationPolicy", "{}", "yes", "is \"true\" or \"false\", not \"yes\""),
        (
            "AuthorizationPolicy",
            "{action: AUDIT, rules: [{}]}",
            "true",
            "is for AuthorizationPolicies that ALLOW or DENY",
        ),
        ("PeerAuthentication", "{}", "true", "is for AuthorizationPolicies that ALLOW or DENY"),
    ] {
        let (taken, said) = judged(kind, spec, value);
        assert!(taken.is_err() && said.contains(finding), "{said}");
    }
}

#[test]
fn bookinfo_is_taken_without_a_word() {
    let text = include_str!("corpus/bookinfo.yaml");
    let (taken, said) = findings(text);
    assert!(taken && said.is_empty(), "{said}");
    let snapshot = Snapshot::parse(text, "bookinfo.yaml").unwrap();
    assert_eq!((snapshot.virtual_services.len(), snapshot.destination_rules.len(), snapshot.gateways.len()), (8, 4, 1));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9:{}\\[\\],&*!|>'\"%@` \n\t#?~<.-]{0,300}") {
        let _ = galley::check(&text, "random");
    }

    #[test]
    fn no_spec_makes_it_panic(
        kind in proptest::sample::select(vec!["VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry", "WorkloadGroup"]),
        words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..60),
    ) {
        let _ = galley::check(&document(kind, "networking.istio.io", &words.concat()), "random");
    }
}

/// Pieces of specs, right and wrong, in any order.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ": ",
    "\n  ",
    "\n    ",
    "- ",
    "null",
    "hosts",
    "http",
    "route",
    "destination",
    "host",
    "reviews",
    "\"*\"",
    "weight",
    "-1",
    "99999999999999999999",
    "1e400",
    "match",
    "uri",
    "regex",
    "\"((\"",
    "prefix",
    "servers",
    "port",
    "number",
    "tls",
    "endpoints",
    "address",
    "\"unix://\"",
    "timeout",
    "1.5s",
    "trafficPolicy",
    "loadBalancer",
    "\"\u{fc}\"",
    "*a",
    "&a ",
];

#[test]
fn what_the_page_on_telemetry_shows_is_taken() {
    let page = include_str!("../../docs/telemetry.md");
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert_eq!(findings(example), (true, String::new()), "{example}");
    }
}
