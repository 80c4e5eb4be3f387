//! Access policies on a running mesh: who is let in, who is not, and where it is told which rule decided.

use std::time::Duration;

use crate::mesh::{Mesh, until};

const PATIENCE: Duration = Duration::from_secs(20);

const READERS: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: ratings}}
  action: DENY
  rules:
  - from: [{source: {notServiceAccounts: [bookinfo-reviews]}}]
    to: [{operation: {paths: [\"/ratings/*\"]}}]
";

#[test]
fn a_policy_lets_one_workload_in_and_refuses_the_others_and_only_the_log_says_why() {
    let mesh = Mesh::start(&[]);
    let ratings = |from: &str| mesh.call_from(from, "http://ratings:9080/ratings/0", &[]);
    assert_eq!((ratings("reviews-v2").status, ratings("details-v1").status), (200, 200));
    mesh.apply(READERS);
    until("the policy at the proxy", PATIENCE, || ratings("details-v1").status == 403);
    let refused = ratings("details-v1");
    assert_eq!((refused.status, refused.body.as_str()), (403, "RBAC: access denied"));
    assert_eq!(ratings("reviews-v2").status, 200);
    assert_eq!(mesh.call_from("details-v1", "http://ratings:9080/health", &[]).status, 200, "{}", mesh.logs());
    let rule = "rbac_access_denied_matched_policy[ns[default]-policy[readers]-rule[0]]";
    until("the rule in the log", PATIENCE, || mesh.log_of("ratings-v1").contains(rule));
    mesh.ok(&["delete", "authorizationpolicy", "readers"]);
    until("the end of the policy", PATIENCE, || ratings("details-v1").status == 200);
}
