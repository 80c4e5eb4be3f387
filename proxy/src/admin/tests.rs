//! The small things that the answers are made of.

use super::*;

#[test]
fn a_query_is_decoded_and_knows_names_without_a_value() {
    let query = Query("filter=a%2Bb+c&usedonly&x=%zz");
    assert_eq!(query.get("filter").as_deref(), Some("a+b c"));
    assert!(query.has("usedonly") && !query.has("format"));
    assert_eq!(query.get("x").as_deref(), Some("%zz"));
}

#[test]
fn a_moment_is_written_as_protobuf_does() {
    let moment = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_042);
    assert_eq!(timestamp(moment), "2023-11-14T22:13:20.042Z");
}

#[test]
fn what_is_secret_is_not_shown() {
    use api::envoy::config::core::v3::{DataSource, data_source::Specifier};
    use api::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret::Type};
    let source =
        |text: &str| Some(DataSource { specifier: Some(Specifier::InlineString(text.into())), ..Default::default() });
    let pair =
        TlsCertificate { certificate_chain: source("chain"), private_key: source("hidden"), ..Default::default() };
    let secret = Secret { name: "s".into(), r#type: Some(Type::TlsCertificate(pair)) };
    let shown = crate::bootstrap::proto_json::packed(&api::any(&secret));
    assert_eq!(shown["tls_certificate"]["certificate_chain"]["inline_string"], "chain");
    assert_eq!(shown["tls_certificate"]["private_key"]["inline_string"], "[redacted]");
    assert_eq!(shown["@type"], "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
}

#[test]
fn keys_that_sign_tokens_are_not_shown_and_those_that_verify_are() {
    use api::envoy::config::core::v3::{DataSource, data_source::Specifier};
    use api::envoy::extensions::filters::http::jwt_authn::v3 as jwt;
    let shown = |set: &str| {
        let source = DataSource { specifier: Some(Specifier::InlineString(set.into())), ..Default::default() };
        let keys = Some(jwt::jwt_provider::JwksSourceSpecifier::LocalJwks(source));
        let provider = jwt::JwtProvider { jwks_source_specifier: keys, ..Default::default() };
        let filter = jwt::JwtAuthentication { providers: [("p".to_owned(), provider)].into(), ..Default::default() };
        let shown = crate::bootstrap::proto_json::packed(&api::any(&filter));
        shown["providers"]["p"]["local_jwks"]["inline_string"].as_str().unwrap().to_owned()
    };
    let public = r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}]}"#;
    assert_eq!(shown(public), public);
    for secret in
        [r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, r#"{"keys": [{"kty": "OKP", "d": "AA"}]}"#, "c2VjcmV0"]
    {
        assert_eq!(shown(secret), "[redacted]", "{secret}");
    }
}
