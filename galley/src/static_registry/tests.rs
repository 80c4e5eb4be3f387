//! What declared services and workloads tell the catalog.

use futures_util::StreamExt;
use registry::{Platform, TlsMode};

use super::*;

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: reviews}}
";

fn workload(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec:\n  address: \
         {address}\n  serviceAccount: reviews\n  labels: {{app: reviews, security.istio.io/tlsMode: istio}}\n"
    )
}

fn snapshot(text: &str) -> Arc<Snapshot> {
    Arc::new(Snapshot::parse(text, "test.yaml").unwrap())
}

#[tokio::test]
async fn endpoints_change_without_their_service() {
    let sender = watch::Sender::new(snapshot(&format!("{ENTRY}{}", workload("a", "10.0.0.1"))));
    let mut events = StaticRegistry::new(sender.subscribe(), "cluster.local").watch();
    let Some(Event::Service(service)) = events.next().await else { panic!("no service") };
    assert_eq!(service.key.to_string(), "default/reviews.default.svc.cluster.local");
    let Some(Event::Endpoints(_, endpoints)) = events.next().await else { panic!("no endpoints") };
    let [endpoint] = &endpoints[..] else { panic!("{endpoints:?}") };
    assert_eq!((endpoint.port, endpoint.tls, endpoint.workload.platform), (8080, TlsMode::Istio, Platform::Vm));
    assert_eq!(endpoint.workload.service_account, "reviews");
    assert_eq!(events.next().await, Some(Event::Synced));

    sender.send_replace(snapshot(&format!("{ENTRY}{}{}", workload("a", "10.0.0.1"), workload("b", "10.0.0.2"))));
    let Some(Event::Endpoints(_, endpoints)) = events.next().await else { panic!("no endpoints") };
    assert_eq!(endpoints.len(), 2);

    sender.send_replace(Arc::new(Snapshot::default()));
    assert_eq!(events.next().await, Some(Event::ServiceGone(service.key)));
}

#[test]
fn inline_endpoints_choose_their_ports() {
    let text = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  resolution: STATIC
  ports: [{number: 3306, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.1, ports: {tcp: 13306}, weight: 3, labels: {security.istio.io/tlsMode: istio}}]
";
    let declared = translate::declared(&snapshot(text), "cluster.local");
    let (_, endpoints) = declared.values().next().unwrap();
    let endpoint = &endpoints[0];
    assert_eq!((endpoint.port, endpoint.weight, endpoint.tls), (13306, 3, TlsMode::Disabled));
    assert_eq!(endpoint.workload.platform, Platform::Static);
}

#[test]
fn a_name_without_endpoints_is_its_own_endpoint() {
    let text = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [www.example.com]
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
";
    let declared = translate::declared(&snapshot(text), "cluster.local");
    let (_, endpoints) = declared.values().next().unwrap();
    assert_eq!(endpoints[0].address.to_string(), "www.example.com");
}
