//! What callers are answered, whatever they ask for.

use std::time::{Duration, SystemTime};

use api::envoy::service::discovery::v3::DiscoveryRequest;
use api::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService as _;
use api::workload_api as wire;
use tonic::Code;
use wire::server::SpiffeWorkloadApi as _;

use super::*;
use crate::identity::test_kit::{Ca, REVIEWS, shape};

#[tokio::test]
async fn a_process_that_cannot_be_seen_is_refused_by_every_call() {
    let svid = Ca::new("root").svid(&shape(REVIEWS, SystemTime::now(), Duration::from_secs(60))).unwrap();
    let source = Arc::new(Source::of(&Identity::fixed(svid), "127.0.0.1:1").unwrap());
    let decide: Decide = Arc::new(move |_| Ok(Arc::clone(&source)));
    fn of<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(Arc::new(Caller::user(7)));
        request
    }
    let api = service::Service(Arc::clone(&decide));
    let answers = [
        api.fetch_x509svid(of(wire::X509svidRequest::default())).await.map(drop),
        api.fetch_x509_bundles(of(wire::X509BundlesRequest::default())).await.map(drop),
        api.fetch_jwtsvid(of(wire::JwtsvidRequest::default())).await.map(drop),
        api.fetch_jwt_bundles(of(wire::JwtBundlesRequest::default())).await.map(drop),
        api.validate_jwtsvid(of(wire::ValidateJwtsvidRequest::default())).await.map(drop),
        sds::Secrets(decide).fetch_secrets(of(DiscoveryRequest::default())).await.map(drop),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.map_err(|status| status.code()), Err(Code::PermissionDenied), "{number}");
    }
}
