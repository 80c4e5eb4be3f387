//! Who is asked about access, over HTTP and over gRPC, and the application behind. What each hears is kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use api::envoy::config::core::v3 as core;
use api::envoy::service::auth::v3 as auth;
use api::google::rpc;
use auth::authorization_server::{Authorization, AuthorizationServer};
use auth::check_response::HttpResponse;
use auth::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};
use tokio_stream::wrappers::TcpListenerStream;

/// A request as somebody heard it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

type All = Arc<Mutex<Vec<Heard>>>;

/// Everybody behind a proxy.
pub struct Providers {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// Takes connections and says nothing.
    pub silent: SocketAddr,
    /// Takes none.
    pub nobody: SocketAddr,
    pub application: SocketAddr,
    asked: All,
    served: All,
    _silent: TcpListener,
    _nobody: Socket,
    _runtime: tokio::runtime::Runtime,
}

impl Providers {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (asked, served) = (All::default(), All::default());
        let (http, application, grpc) = runtime.block_on(async {
            let http = serve(Arc::clone(&asked), decide).await;
            let application = serve(Arc::clone(&served), |_| Response::new(Full::from("served"))).await;
            (http, application, serve_grpc(Arc::clone(&asked)).await)
        });
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        // Its port is taken, and nobody listens.
        let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self {
            http,
            grpc,
            silent: silent.local_addr().unwrap(),
            nobody: nobody.local_addr().unwrap().as_socket().unwrap(),
            application,
            asked,
            served,
            _silent: silent,
            _nobody: nobody,
            _runtime: runtime,
        }
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// What came to the application since the last time.
    pub fn served(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.served.lock().unwrap())
    }
}

async fn serve(heard: All, answer: fn(&Heard) -> Response<Full<Bytes>>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            let service = service_fn(move |request: Request<Incoming>| {
                let heard = Arc::clone(&heard);
                async move {
                    let one = read(request).await;
                    let answer = answer(&one);
                    heard.lock().unwrap().push(one);
                    Ok::<_, Infallible>(answer)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn read(request: Request<Incoming>) -> Heard {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    Heard { path: head.uri.to_string(), headers: headers.collect(), body }
}

/// By the header x-ask: `yes`, `login`, `broken`; else no.
fn decide(heard: &Heard) -> Response<Full<Bytes>> {
    let answer = Response::builder().header("x-secret", "1");
    let answer = match heard.headers.get("x-ask").map(String::as_str) {
        Some("yes") => answer.header("x-user", "alice").header("x-told", "welcome").body(Full::default()),
        Some("login") => answer.status(StatusCode::FOUND).header("location", "/login").body(Full::default()),
        Some("broken") => answer.status(StatusCode::INTERNAL_SERVER_ERROR).body(Full::default()),
        _ => answer.status(StatusCode::UNAUTHORIZED).header("x-why", "no").body(Full::from("not you")),
    };
    answer.unwrap()
}

struct Service(All);

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let asked = request.into_inner().attributes.unwrap();
        let Some(asked) = asked.request.and_then(|request| request.http) else {
            let heard = Heard { path: address_of(asked.source), ..Heard::default() };
            let answer = decide_on_connection(&heard.path);
            self.0.lock().unwrap().push(heard);
            return answer.map(tonic::Response::new);
        };
        let body = if asked.raw_body.is_empty() { asked.body.into_bytes() } else { asked.raw_body };
        let heard = Heard { path: asked.path, headers: asked.headers.into_iter().collect(), body };
        let answer = decide_grpc(heard.headers.get("x-ask").map(String::as_str));
        self.0.lock().unwrap().push(heard);
        answer.map(tonic::Response::new)
    }
}

fn address_of(peer: Option<auth::attribute_context::Peer>) -> String {
    let Some(core::address::Address::SocketAddress(socket)) = peer.and_then(|peer| peer.address?.address) else {
        panic!("a caller has an address")
    };
    socket.address
}

/// Of connections only addresses are known.
fn decide_on_connection(from: &str) -> Result<CheckResponse, tonic::Status> {
    let code = match from {
        "127.0.9.1" => tonic::Code::Ok,
        "127.0.9.9" => return Err(tonic::Status::internal("broken")),
        _ => tonic::Code::PermissionDenied,
    };
    let status = rpc::Status { code: code as i32, ..Default::default() };
    Ok(CheckResponse { status: Some(status), ..CheckResponse::default() })
}

fn decide_grpc(ask: Option<&str>) -> Result<CheckResponse, tonic::Status> {
    let denied = |code, headers: &[(&str, &str)], body: &str| {
        let status = Some(api::envoy::r#type::v3::HttpStatus { code });
        let headers = headers.iter().map(|(name, value)| option(name, value)).collect();
        says(
            tonic::Code::PermissionDenied,
            HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body: body.to_owned() }),
        )
    };
    Ok(match ask {
        Some("yes") => says(
            tonic::Code::Ok,
            HttpResponse::OkResponse(OkHttpResponse {
                headers: vec![option("x-user", "alice")],
                response_headers_to_add: vec![option("x-told", "welcome")],
                ..OkHttpResponse::default()
            }),
        ),
        Some("login") => denied(302, &[("location", "/login")], ""),
        Some("broken") => return Err(tonic::Status::internal("broken")),
        _ => denied(401, &[("x-why", "no")], "not you"),
    })
}

fn says(code: tonic::Code, http_response: HttpResponse) -> CheckResponse {
    let status = rpc::Status { code: code as i32, ..Default::default() };
    CheckResponse { status: Some(status), http_response: Some(http_response), dynamic_metadata: None }
}

fn option(name: &str, value: &str) -> core::HeaderValueOption {
    use core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd;
    let header = core::HeaderValue { key: name.into(), value: value.into(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), append_action: OverwriteIfExistsOrAdd as i32, ..Default::default() }
}

async fn serve_grpc(heard: All) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder().add_service(AuthorizationServer::new(Service(heard)));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}
