//! The server over real sockets, between an asker and nameservers that the test scripts.

mod kit;
mod malformed;

use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Asker, Nameserver, Reply, header, question, settings, table};
use tokio::time::timeout;

use super::packet::{A, AAAA};
use super::*;
use crate::listener::test_kit::{free, free_at};

const TXT: u16 = 16;

#[tokio::test]
async fn every_form_of_a_name_is_answered_with_its_addresses() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let reviews = ("10.0.0.1", "2001:db8::1");
    for (name, v4, v6) in [
        ("reviews.shop.svc.cluster.local", reviews.0, reviews.1),
        ("REVIEWS.Shop.svc.cluster.local", reviews.0, reviews.1),
        ("reviews.shop.svc", reviews.0, reviews.1),
        ("reviews.shop", reviews.0, reviews.1),
        ("reviews", reviews.0, reviews.1),
        ("reviews.service.consul", reviews.0, reviews.1),
        ("ratings.other", "10.0.0.2", ""),
        ("api.example.com", "240.240.0.1", ""),
        ("x.wild.example.com", "10.0.0.3", ""),
        ("y.x.wild.example.com", "10.0.0.3", ""),
        ("z.deep.wild.example.com", "10.0.0.4", ""),
        // Below the search domain of resolv.conf, as programs ask first.
        ("reviews.corp.example", reviews.0, reviews.1),
        ("ratings.other.corp.example", "10.0.0.2", ""),
        ("empty.shop", "", ""),
    ] {
        assert_eq!(asker.addresses(name, A).await, if v4.is_empty() { vec![] } else { vec![v4] }, "{name}");
        assert_eq!(asker.addresses(name, AAAA).await, if v6.is_empty() { vec![] } else { vec![v6] }, "{name}");
    }
    assert_eq!(upstream.asked(), 0, "nobody else is asked");
}

#[tokio::test]
async fn what_a_name_does_not_have_is_said_without_denying_the_name() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    for (name, kind) in [("ratings.other", AAAA), ("reviews", TXT), ("reviews.corp.example", 65), ("empty.shop", A)] {
        let answer = asker.udp(&question(7, name, kind)).await;
        assert_eq!(answer[3] & 0x0f, 0, "{name} exists");
        assert_eq!(answer[2] & 0x04, 0x04, "it is said with authority");
        assert!(asker.addresses(name, kind).await.is_empty());
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_name_below_the_search_domain_stands_for_the_one_above() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let answer = asker.udp(&question(7, "reviews.corp.example", A)).await;
    let records = packet::records(&answer).unwrap();
    assert_eq!(records.iter().map(|record| record.kind).collect::<Vec<_>>(), [packet::CNAME, A]);
    assert!(records.iter().all(|record| record.ttl == 30));
    assert_eq!(&answer[records[0].data.clone()], b"\x07reviews\0");
}

#[tokio::test]
async fn an_address_of_the_mesh_is_told_whose_it_is_and_others_are_asked_of_others() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    for (asked, owner) in [
        ("1.0.0.10.in-addr.arpa", &b"\x07reviews\x04shop\x03svc\x07cluster\x05local\0"[..]),
        (v6, b"\x07reviews\x04shop\x03svc\x07cluster\x05local\0"),
        ("1.0.240.240.in-addr.arpa", b"\x03api\x07example\x03com\0"),
    ] {
        let answer = asker.udp(&question(7, asked, packet::PTR)).await;
        let records = packet::records(&answer).unwrap();
        assert_eq!((records.len(), records[0].kind, records[0].ttl), (1, packet::PTR, 30), "{asked}");
        assert_eq!(&answer[records[0].data.clone()], owner, "{asked}");
    }
    assert_eq!(upstream.asked(), 0);
    // Not the mesh's, a wildcard's, no whole address.
    let others = ["9.9.9.9.in-addr.arpa", "3.0.0.10.in-addr.arpa", "0.0.10.in-addr.arpa", "1.2.ip6.arpa"];
    for (count, asked) in (1..).zip(others) {
        let answer = asker.udp(&question(7, asked, packet::PTR)).await;
        assert_eq!((answer[3] & 0x0f, upstream.asked()), (3, count), "{asked}");
    }
}

#[tokio::test]
async fn other_names_are_not_the_meshs() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    // Not of this namespace, not below the wildcard, the wildcard's own, of another domain, of another kind or class.
    let names = ["ratings", "wild.example.com", "reviews.shop.svc.other.local", "corp.example", "example.com", "com"];
    for (count, name) in (1..).zip(names) {
        let answer = asker.udp(&question(7, name, A)).await;
        assert_eq!((answer[3] & 0x0f, upstream.asked()), (3, count), "{name}");
    }
    let mut asked = question(7, "api.example.com", A);
    let end = asked.len();
    asked[end - 1] = 3;
    assert_eq!(asker.udp(&asked).await[3] & 0x0f, 3);
}

#[tokio::test]
async fn others_may_know_more_of_a_name_than_its_addresses_but_not_that_it_is_not_there() {
    let names = ["api.example.com", "reviews.service.consul", "x.wild.example.com"];
    let silent = Nameserver::start(Reply::NoSuchNameHere).await;
    let knowing = Nameserver::start(Reply::Echo).await;
    let unknowing = Asker::start(&silent, Some(table())).await;
    let known = Asker::start(&knowing, Some(table())).await;
    for name in names {
        for kind in [TXT, 15, 33] {
            let asked = question(7, name, kind);
            // The second time from what was kept.
            for answer in [unknowing.udp(&asked).await, unknowing.tcp(&asked).await, unknowing.udp(&asked).await] {
                assert_eq!(answer[3] & 0x0f, 0, "{name} exists");
                let records = packet::records(&answer).unwrap();
                let told: Vec<_> = records.iter().map(|record| (record.kind, record.section)).collect();
                assert_eq!(told, [(packet::SOA, packet::Section::Authority)], "{name} {kind}");
            }
            assert_eq!(known.udp(&asked).await, Reply::Echo.to(&asked));
        }
    }
    assert_eq!(silent.asked(), names.len() * 3 * 2, "over UDP and TCP once each");
    let answer = unknowing.udp(&question(7, "www.example.com", TXT)).await;
    assert_eq!(answer[3] & 0x0f, 3, "what is not the mesh's is denied as before");
}

#[tokio::test]
async fn what_upstream_says_is_passed_on_bit_for_bit() {
    let upstream = Nameserver::start(Reply::Echo).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let mut cases = vec![question(7, "www.example.com", A), question(8, "WWW.Example.com", 257)];
    // An update, a name of no host, bytes after the question that are no records.
    cases.push([&header(9, 0x2800, [1, 0, 0, 0])[..], b"\x03foo\0\0\x06\0\x01"].concat());
    cases.push([&header(10, 0x0100, [1, 0, 0, 0])[..], b"\x04a.\0b\0\0\x01\0\x01"].concat());
    cases.push([&header(11, 0x0100, [1, 0, 0, 9])[..], b"\x03foo\0\0\x01\0\x01rubbish"].concat());
    for asked in cases {
        let expected = Reply::Echo.to(&asked);
        assert_eq!(asker.udp(&asked).await, expected);
        assert_eq!(asker.tcp(&asked).await, expected);
    }
    let ids = upstream.ids();
    assert!(ids.windows(2).any(|pair| pair[0] != pair[1]), "upstream is asked under ids of our own: {ids:?}");
}

#[tokio::test]
async fn an_answer_is_kept_for_as_long_as_it_holds() {
    let upstream = Nameserver::start(Reply::Address { ttl: 60 }).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let first = asker.udp(&question(7, "www.example.com", A)).await;
    let second = asker.udp(&question(8, "www.example.com", A)).await;
    assert_eq!((first[1], second[1], upstream.asked()), (7, 8, 1));
    let brief = Nameserver::start(Reply::Address { ttl: 0 }).await;
    let asker = Asker::start(&brief, Some(table())).await;
    for id in [7, 8] {
        asker.udp(&question(id, "www.example.com", A)).await;
    }
    assert_eq!(brief.asked(), 2);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_and_whole_over_tcp() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let many: Vec<String> = (0..200).map(|n| format!("10.1.0.{n}")).collect();
    let mut names = table();
    names.names.insert("many.example.com".into(), kit::name(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    let asker = Asker::start(&upstream, Some(names)).await;
    let plain = question(7, "many.example.com", A);
    for (size, longest) in [(None, 512), (Some(100), 512), (Some(1232), 1232), (Some(u16::MAX), 4096)] {
        let asked = size.map_or(plain.clone(), |size| kit::with_edns(&plain, size, 0));
        let answer = asker.udp(&asked).await;
        assert!(answer.len() <= longest && answer.len() + 16 > longest.min(3243), "{size:?}: {}", answer.len());
        let count = packet::records(&answer).unwrap().iter().filter(|record| record.kind == A).count();
        assert_eq!(packet::is_truncated(&answer), count < 200, "{size:?}");
    }
    let whole = asker.tcp(&plain).await;
    assert!(!packet::is_truncated(&whole));
    assert_eq!(packet::records(&whole).unwrap().len(), 200);
}

#[tokio::test]
async fn edns_is_answered_in_kind() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let plain = question(7, "reviews", A);
    let answer = asker.udp(&kit::with_edns(&plain, 1232, 0)).await;
    let records = packet::records(&answer).unwrap();
    assert!(records.iter().any(packet::Record::is_opt) && records.iter().any(|record| record.kind == A));
    let answer = asker.udp(&kit::with_edns(&plain, 1232, 1)).await;
    let opt = packet::records(&answer).unwrap().into_iter().find(packet::Record::is_opt).unwrap();
    assert_eq!(opt.ttl >> 24, 1, "BADVERS");
}

#[tokio::test]
async fn the_next_nameserver_is_asked_where_one_is_away_or_fails() {
    let refused = free();
    let failing = Nameserver::start(Reply::Failure).await;
    let good = Nameserver::start(Reply::Echo).await;
    let asked = question(7, "www.example.com", A);
    let asker = Asker::of(vec![refused, failing.address, good.address], Some(table())).await;
    assert_eq!(asker.udp(&asked).await, Reply::Echo.to(&asked));
    assert_eq!(asker.tcp(&asked).await, Reply::Echo.to(&asked));
    assert_eq!(failing.asked(), 2);
    // Where all fail, the first says how.
    let asker = Asker::of(vec![failing.address, refused], Some(table())).await;
    assert_eq!(asker.udp(&asked).await, Reply::Failure.to(&asked));
    // Where all are away, it is for another time.
    let asker = Asker::of(vec![refused, refused], Some(table())).await;
    assert_eq!(asker.udp(&asked).await[3] & 0x0f, 2);
    assert_eq!(asker.udp(&question(8, "reviews", A)).await[3] & 0x0f, 0, "the mesh's names are answered all the same");
}

#[tokio::test]
async fn a_forged_answer_is_not_believed() {
    let upstream = Nameserver::start(Reply::AfterForgeries).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let asked = question(7, "www.example.com", A);
    assert_eq!(asker.udp(&asked).await, Reply::Echo.to(&asked));
    assert_eq!(asker.tcp(&asked).await, Reply::Echo.to(&asked));
}

#[tokio::test]
async fn a_server_that_is_its_own_nameserver_does_not_ask_itself() {
    let asker = Asker::asking_itself().await;
    let answer = asker.udp(&question(7, "www.example.com", A)).await;
    assert_eq!(answer[3] & 0x0f, 2);
}

#[tokio::test]
async fn a_question_that_comes_back_is_not_sent_around_again() {
    // Hands everything on to the server that asks it, as a capture of port 53 would that takes too much.
    let mirror = kit::Mirror::bind().await;
    let asker = Asker::of(vec![mirror.address], Some(table())).await;
    mirror.reflect_to(asker.server);
    let answer = asker.udp(&question(7, "www.example.com", A)).await;
    assert_eq!(answer[3] & 0x0f, 2);
    assert_eq!(asker.counters.looped.get(), 1);
}

#[tokio::test]
async fn before_the_names_are_known_none_of_them_is_denied() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, None).await;
    let code = |answer: Vec<u8>| answer[3] & 0x0f;
    assert_eq!(code(asker.udp(&question(7, "reviews.shop.svc.cluster.local", A)).await), 2);
    assert_eq!(code(asker.udp(&question(7, "www.example.com", A)).await), 3);
}

#[tokio::test]
async fn names_follow_the_configuration() {
    let upstream = Nameserver::start(Reply::NoSuchName).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    assert_eq!(asker.addresses("reviews", A).await, ["10.0.0.1"]);
    let names = BTreeMap::from([("reviews.shop.svc.cluster.local".to_owned(), kit::short("reviews", &["10.0.0.9"]))]);
    asker.put(crate::config::NameTable { names });
    let changed = async { while asker.addresses("reviews", A).await != ["10.0.0.9"] {} };
    timeout(Duration::from_secs(30), changed).await.unwrap();
}

#[tokio::test]
async fn one_connection_asks_many_questions() {
    let upstream = Nameserver::start(Reply::Echo).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    let questions: Vec<_> =
        ["reviews", "www.example.com", "ratings.other"].iter().map(|name| question(7, name, A)).collect();
    let answers = asker.tcp_many(&questions).await;
    assert_eq!(answers[1], Reply::Echo.to(&questions[1]));
    assert_eq!(packet::records(&answers[2]).unwrap().len(), 1);
}

#[tokio::test]
async fn questions_over_ipv6_are_answered_beside_the_others() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: there is no IPv6 here");
    }
    let taken = kit::free_for_both(std::net::Ipv6Addr::LOCALHOST.into());
    let given = DnsOptions { listen: Listen::At(taken), captured_ipv6: true, upstreams: vec![] };
    let captured = given.settings(taken.ip()).unwrap().also;
    assert_eq!(captured, Some("[::1]:15053".parse().unwrap()));
    let usual = DnsOptions { listen: Listen::Usual, ..given };
    assert_eq!(usual.settings(taken.ip()).unwrap().also, None, "it is there already");

    let settings = DnsSettings { also: Some(taken), ..settings(vec![]) };
    let asker = Asker::at(&settings, Some(table())).await;
    let asked = question(7, "reviews", A);
    let expected = asker.udp(&asked).await;
    let beside = asker.asking(taken);
    assert_eq!(beside.udp(&asked).await, expected);
    assert_eq!(beside.tcp(&asked).await, expected);

    let error = Server::bind(&settings, "shop", "cluster.local").await.err().unwrap();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[tokio::test]
async fn the_nameservers_of_resolv_conf_are_followed() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 192.0.2.1\nsearch a.example\n").unwrap();
    let own: SocketAddr = "192.0.2.2:53".parse().unwrap();
    let upstream = upstream::Upstream::new(DnsSettings { resolv_conf: path.clone(), ..settings(vec![]) }, vec![own]);
    assert_eq!(upstream.conf().search.as_deref(), Some("a.example"));
    std::fs::write(&path, "nameserver 192.0.2.1\nsearch b.example\n").unwrap();
    let later = std::fs::File::options().write(true).open(&path).unwrap();
    later.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
    let followed = async {
        while upstream.conf().search.as_deref() != Some("b.example") {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), followed).await.unwrap();
}

#[test]
fn a_name_that_tells_its_namespace_is_its_services_whoever_else_is_called_so() {
    let mut told = table();
    for spelled in ["ratings.other", "ratings.other.svc"] {
        told.names.insert(spelled.into(), kit::name(&["192.0.2.66"]));
    }
    let names = names::Names::new(&told, "shop", "cluster.local");
    for form in ["ratings.other", "ratings.other.svc", "ratings.other.svc.cluster.local"] {
        assert_eq!(names.find(form, None).unwrap().name.v4, [std::net::Ipv4Addr::new(10, 0, 0, 2)], "{form}");
    }
}
