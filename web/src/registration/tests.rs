//! The calls by curl, from a table: what is asked, and every byte of the answer.

use std::process::Command;
use std::time::{Duration, SystemTime};

use registry::DiscoveryOptions;
use runtime::Clock;
use runtime::ManualClock;
use store::Memory;

use super::*;

/// The 2nd of May 2016, 17:35:41.123456.
const NOW: Duration = Duration::from_micros(1_462_210_541_123_456);

struct Server {
    address: SocketAddr,
    clock: ManualClock,
    stop: runtime::shutdown::Signal,
}

impl Server {
    async fn start() -> Self {
        Self::asking_for(None).await
    }

    async fn asking_for(token: Option<&str>) -> Self {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + NOW);
        let options = DiscoveryOptions {
            domain: "cluster.local".into(),
            namespace: "default".into(),
            time_to_live: Duration::from_secs(600),
        };
        let hosts = Discovery::open(Arc::new(Memory::new()), options, Clock::clone(&clock.clock())).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, shutdown) = runtime::shutdown::channel();
        let app = router(CheckIns::new(hosts, "development", token, shutdown));
        tokio::spawn(serve_on(Ok(listener), app, std::future::pending()));
        Self { address, clock, stop }
    }

    /// Status and body, as curl prints them.
    async fn curl(&self, arguments: &[&str], path: &str) -> String {
        let mut command = Command::new("curl");
        command
            .args(ALONE)
            .args(["-s", "-g", "-w", " %{http_code}"])
            .args(arguments)
            .arg(format!("http://{}{path}", self.address));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whatever the user of this machine has told curl otherwise.
const ALONE: [&str; 3] = ["-q", "--noproxy", "*"];

const TAGS: &str = r#"tags={"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false}"#;

/// What curl is given, the path, and the answer with its status.
type Case = (&'static [&'static str], &'static str, &'static str);

const CASES: &[Case] = &[
    (&[], "/healthcheck", "OK 200"),
    (&[], "/v1/registration/web", r#"{"service":"web","env":"development","hosts":[]} 200"#),
    (&[], "/v1/registration/repo/webs", r#"{"service_repo_name":"webs","env":"development","hosts":[]} 200"#),
    // Checking in, by either kind of form.
    (&["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", TAGS], "/v1/registration/web", "{} 200"),
    (
        &["-F", "ip=10.0.0.2", "-F", "port=9212", "-F", "revision=sha2", "-F", "service_repo_name=webs", "-F", TAGS],
        "/v1/registration/web",
        "{} 200",
    ),
    (
        &[],
        "/v1/registration/web",
        concat!(
            r#"{"service":"web","env":"development","hosts":[{"service":"web","ip_address":"10.0.0.1","#,
            r#""service_repo_name":null,"port":9211,"revision":"sha","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false}},"#,
            r#"{"service":"web","ip_address":"10.0.0.2","service_repo_name":"webs","port":9212,"revision":"sha2","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false}}]} 200"#
        ),
    ),
    (
        &[],
        "/v1/registration/repo/webs",
        concat!(
            r#"{"service_repo_name":"webs","env":"development","hosts":[{"service":"web","ip_address":"10.0.0.2","#,
            r#""service_repo_name":"webs","port":9212,"revision":"sha2","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false}}]} 200"#
        ),
    ),
    // Lacking or wrong fields.
    (&["-d", "port=1", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "port=0", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "port=-1", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "port=x", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "port=1", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.0.0.1", "-d", "port=1", "-d", "revision=a"], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=10.1", "-d", "port=1", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (&["-d", "ip=::1", "-d", "port=1", "-d", "revision=a", "-d", TAGS], "/v1/registration/web", "{} 400"),
    (
        &["-d", "ip=10.0.0.1", "-d", "port=1", "-d", "revision=a", "-d", r#"tags={"az":"a","region":"b"}"#],
        "/v1/registration/web",
        "{} 400",
    ),
    (
        &["-d", "ip=10.0.0.1", "-d", "port=1", "-d", "revision=a", "-d", "tags={"],
        "/v1/registration/web",
        r#"{"error":"Invalid json supplied in tags"} 400"#,
    ),
    (&["-X", "POST"], "/v1/registration/web", "{} 400"),
    // The caller's own address, behind one proxy.
    (&["-d", "auto_ip=1", "-d", "port=1", "-d", "revision=a", "-d", TAGS], "/v1/registration/auto", "{} 400"),
    (
        &["-H", "x-forwarded-for: 10.0.0.9", "-d", "auto_ip=1", "-d", "port=1", "-d", "revision=a", "-d", TAGS],
        "/v1/registration/auto",
        "{} 400",
    ),
    (
        &[
            "-H",
            "x-forwarded-for: 1.2.3.4, 192.168.3.4",
            "-d",
            "auto_ip=1",
            "-d",
            "port=1",
            "-d",
            "revision=a",
            "-d",
            TAGS,
        ],
        "/v1/registration/auto",
        "{} 200",
    ),
    (&["-X", "DELETE"], "/v1/registration/auto/192.168.3.4", "{} 200"),
    // Weights.
    (&["-X", "POST"], "/v1/loadbalancing/web", r#"{"error":"Required parameter 'weight' is missing."} 400"#),
    (
        &["-d", "load_balancing_weight=0"],
        "/v1/loadbalancing/web",
        r#"{"error":"Invalid load_balancing_weight. Supply an integer between 1 and 100."} 400"#,
    ),
    (
        &["-d", "load_balancing_weight=101"],
        "/v1/loadbalancing/web",
        r#"{"error":"Invalid load_balancing_weight. Supply an integer between 1 and 100."} 400"#,
    ),
    (
        &["-d", "load_balancing_weight=many"],
        "/v1/loadbalancing/web/10.0.0.1",
        r#"{"error":"Invalid load_balancing_weight. Supply an integer between 1 and 100."} 400"#,
    ),
    (&["-d", "load_balancing_weight=7"], "/v1/loadbalancing/web/10.9.9.9", r#"{"error":"Host not found"} 404"#),
    (&["-d", "load_balancing_weight=7"], "/v1/loadbalancing/web/nobody", r#"{"error":"Host not found"} 404"#),
    (&["-d", "load_balancing_weight=7"], "/v1/loadbalancing/nothing", " 204"),
    (&["-d", "load_balancing_weight=9"], "/v1/loadbalancing/web", " 204"),
    (&["-d", "load_balancing_weight=100"], "/v1/loadbalancing/web/10.0.0.2", " 204"),
    // A check-in merges its tags, so the weight stays; all else is replaced.
    (&["-d", "ip=10.0.0.2", "-d", "port=9", "-d", "revision=new", "-d", TAGS], "/v1/registration/web", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/web/10.0.0.1", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/web/10.0.0.1", "{} 400"),
    (&["-X", "DELETE"], "/v1/registration/web/nobody", "{} 400"),
    (
        &[],
        "/v1/registration/web",
        concat!(
            r#"{"service":"web","env":"development","hosts":[{"service":"web","ip_address":"10.0.0.2","#,
            r#""service_repo_name":null,"port":9,"revision":"new","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false,"#,
            r#""load_balancing_weight":100}}]} 200"#
        ),
    ),
    // A service may be called `repo`.
    (&["-d", "ip=10.0.0.3", "-d", "port=1", "-d", "revision=a", "-d", TAGS], "/v1/registration/repo", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/repo/10.0.0.3", "{} 200"),
    // JSON, with an address of the sixth version.
    (
        &[
            "-H",
            "content-type: application/json",
            "-d",
            r#"{"ip":"fd00::1","port":80,"revision":"a","tags":{"az":"a","region":"b","instance_id":"c"}}"#,
        ],
        "/v1/registration/six",
        "{} 200",
    ),
    (&["-X", "DELETE"], "/v1/registration/six/fd00::1", "{} 200"),
    // An address with a port may have others too; without one it means all.
    (&["-d", "revision=a", "-d", TAGS], "/v1/registration/ports/10.0.0.1:80", "{} 200"),
    (
        &["-d", "ip=10.0.0.1", "-d", "port=81", "-d", "revision=b", "-d", TAGS],
        "/v1/registration/ports/10.0.0.1:81",
        "{} 200",
    ),
    (&["-d", "port=82", "-d", "revision=b", "-d", TAGS], "/v1/registration/ports/10.0.0.1:81", "{} 400"),
    (&["-d", "ip=10.0.0.2", "-d", "revision=b", "-d", TAGS], "/v1/registration/ports/10.0.0.1:81", "{} 400"),
    (&["-d", "revision=a", "-d", TAGS], "/v1/registration/ports/10.0.0.1", "{} 400"),
    (&["-d", "revision=a", "-d", TAGS], "/v1/registration/ports/10.0.0.1:0", "{} 400"),
    (&["-d", "revision=a"], "/v1/registration/ports/10.0.0.1:80", "{} 400"),
    (&["-d", "load_balancing_weight=7"], "/v1/loadbalancing/ports/10.0.0.1:81", " 204"),
    (&["-d", "load_balancing_weight=7"], "/v1/loadbalancing/ports/10.0.0.1:82", r#"{"error":"Host not found"} 404"#),
    (
        &[],
        "/v1/registration/ports",
        concat!(
            r#"{"service":"ports","env":"development","hosts":[{"service":"ports","ip_address":"10.0.0.1","#,
            r#""service_repo_name":null,"port":80,"revision":"a","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false}},"#,
            r#"{"service":"ports","ip_address":"10.0.0.1","service_repo_name":null,"port":81,"revision":"b","#,
            r#""last_check_in":"2016-05-02 17:35:41.123456+00:00","#,
            r#""tags":{"az":"us-east-1a","region":"us-east-1","instance_id":"i-1","canary":false,"#,
            r#""load_balancing_weight":7}}]} 200"#
        ),
    ),
    (&["-X", "DELETE"], "/v1/registration/ports/10.0.0.1:82", "{} 400"),
    (&["-X", "DELETE"], "/v1/registration/ports/10.0.0.1:80", "{} 200"),
    (&["-d", "revision=a", "-d", TAGS], "/v1/registration/ports/[fd00::1]:80", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/ports/[fd00::1]:80", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/ports/10.0.0.1", "{} 200"),
    (&[], "/v1/registration/ports", r#"{"service":"ports","env":"development","hosts":[]} 200"#),
    (&["-d", "revision=a", "-d", TAGS], "/v1/registration/repo/10.0.0.3:1", "{} 200"),
    (&["-X", "DELETE"], "/v1/registration/repo/10.0.0.3:1", "{} 200"),
];

#[tokio::test]
async fn every_call_is_answered_as_described() {
    let server = Server::start().await;
    for (arguments, path, expected) in CASES {
        assert_eq!(&server.curl(arguments, path).await, expected, "curl {arguments:?} {path}");
    }
}

#[tokio::test]
async fn a_host_is_listed_until_its_time_is_over() {
    let server = Server::start().await;
    let host = ["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", TAGS];
    server.curl(&host, "/v1/registration/web").await;
    server.clock.advance(Duration::from_secs(600));
    assert!(server.curl(&[], "/v1/registration/web").await.contains("10.0.0.1"));
    server.clock.advance(Duration::from_micros(1));
    let nobody = r#"{"service":"web","env":"development","hosts":[]} 200"#;
    assert_eq!(server.curl(&[], "/v1/registration/web").await, nobody);
}

#[tokio::test]
async fn who_has_a_list_already_is_told_so() {
    let server = Server::start().await;
    let host = ["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", TAGS];
    server.curl(&host, "/v1/registration/web").await;
    let answer = server.curl(&["-i"], "/v1/registration/web").await;
    let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim();
    let known = format!("if-none-match: {tag}");
    assert_eq!(server.curl(&["-H", &known], "/v1/registration/web").await, " 304");
    server.curl(&["-d", "load_balancing_weight=9"], "/v1/loadbalancing/web").await;
    assert!(server.curl(&["-H", &known], "/v1/registration/web").await.ends_with(" 200"));
}

#[tokio::test]
async fn a_list_that_is_watched_is_told_anew_when_it_changes() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let server = Server::start().await;
    let url = format!("http://{}/v1/registration/web?watch", server.address);
    let mut curl = tokio::process::Command::new("curl");
    let mut curl =
        curl.args(ALONE).args(["-sN", &url]).stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    let mut next = async || loop {
        if let Some(list) = lines.next_line().await.unwrap()?.strip_prefix("data: ") {
            return Some(list.to_owned());
        }
    };
    let empty = r#"{"service":"web","env":"development","hosts":[]}"#;
    assert_eq!(next().await.unwrap(), empty);
    let host = ["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", TAGS];
    server.curl(&host, "/v1/registration/web").await;
    assert!(next().await.unwrap().contains(r#""port":9211,"revision":"sha""#));
    // Another service, and the same host once more, change nothing of it.
    server.curl(&host, "/v1/registration/other").await;
    server.clock.advance(Duration::from_secs(1));
    server.curl(&host, "/v1/registration/web").await;
    server.curl(&["-d", "load_balancing_weight=9"], "/v1/loadbalancing/web").await;
    assert!(next().await.unwrap().contains(r#""load_balancing_weight":9"#));
    server.curl(&["-X", "DELETE"], "/v1/registration/web/10.0.0.1").await;
    assert_eq!(next().await.unwrap(), empty);
    server.stop.drain();
    assert_eq!(next().await, None);
    assert!(curl.wait().await.unwrap().success());
}

#[tokio::test]
async fn where_a_token_is_asked_for_nobody_reads_or_writes_without_it() {
    let server = Server::asking_for(Some("secret")).await;
    let host = ["-d", "ip=10.0.0.1", "-d", "port=9211", "-d", "revision=sha", "-d", TAGS];
    assert!(server.curl(&host, "/v1/registration/web").await.ends_with(" 401"));
    assert!(server.curl(&["-H", "authorization: Bearer wrong"], "/v1/registration/web").await.ends_with(" 401"));
    assert_eq!(server.curl(&[], "/healthcheck").await, "OK 200");
    let token = ["-H", "authorization: Bearer secret"];
    let nobody = r#"{"service":"web","env":"development","hosts":[]} 200"#;
    assert_eq!(server.curl(&token, "/v1/registration/web").await, nobody);
    assert_eq!(server.curl(&[&token[..], &host].concat(), "/v1/registration/web").await, "{} 200");
}
