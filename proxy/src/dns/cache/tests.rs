//! Which answers are kept, and for how long.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A question for the address of `a.b`, with what stands in its head after the id.
fn question(id: u8, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 1, b'b', 0];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(packet::INTERNET.to_be_bytes());
    bytes
}

fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 12];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(packet::INTERNET.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn answer(question: &[u8], code: Code, answers: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80 | code as u8;
    bytes[7] = answers.len() as u8;
    bytes[9] = authority.len() as u8;
    bytes.extend(answers.concat());
    bytes.extend(authority.concat());
    bytes
}

fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let mut data = vec![0, 0];
    data.extend([0; 16]);
    data.extend(minimum.to_be_bytes());
    record(packet::SOA, ttl, &data)
}

fn ip(ttl: u32) -> Vec<u8> {
    record(packet::A, ttl, &[192, 0, 2, 1])
}

#[test]
fn an_answer_holds_for_as_long_as_it_says() {
    use Code::{NoError, NoSuchName, Refused, ServerFailure};
    let holds = |code, answers: &[Vec<u8>], authority: &[Vec<u8>]| {
        let asked = question(1, packet::A);
        holds_for(&Query::parse(&asked).unwrap(), &answer(&asked, code, answers, authority))
    };
    for (expected, code, answers, authority) in [
        (Some(60), NoError, vec![ip(60)], vec![]),
        (Some(5), NoError, vec![record(packet::CNAME, 60, &[0xc0, 12]), ip(5)], vec![]),
        (Some(7), NoError, vec![ip(60)], vec![record(2, 7, &[0xc0, 12])]),
        (Some(LONGEST_POSITIVE), NoError, vec![ip(1_000_000)], vec![]),
        (Some(0), NoError, vec![ip(0)], vec![]),
        (Some(0), NoError, vec![ip(u32::MAX)], vec![]),
        (Some(30), NoSuchName, vec![], vec![soa(30, 900)]),
        (Some(20), NoSuchName, vec![], vec![soa(900, 20)]),
        (Some(LONGEST_NEGATIVE), NoSuchName, vec![], vec![soa(90_000, 90_000)]),
        (Some(20), NoError, vec![], vec![soa(900, 20)]),
        (Some(20), NoError, vec![record(packet::CNAME, 60, &[0xc0, 12])], vec![soa(900, 20)]),
        (None, NoSuchName, vec![], vec![]),
        (None, NoError, vec![], vec![record(2, 7, &[0xc0, 12])]),
        (None, ServerFailure, vec![], vec![soa(900, 20)]),
        (None, Refused, vec![ip(60)], vec![]),
    ] {
        assert_eq!(holds(code, &answers, &authority), expected, "{code:?} {answers:?} {authority:?}");
    }
}

#[test]
fn an_answer_is_not_given_beyond_its_time() {
    let asked = question(1, packet::A);
    let query = Query::parse(&asked).unwrap();
    for (ttl, last) in [(60, Some(59)), (0, None)] {
        let (cache, start) = (Cache::default(), Instant::now());
        cache.keep(&query, Transport::Udp, &answer(&asked, Code::NoError, &[ip(ttl)], &[]), start);
        let found = |after: u32| cache.find(&query, Transport::Udp, start + SECOND * after).is_some();
        assert!(last.is_none_or(found));
        assert!(!found(last.map_or(0, |last| last + 1)));
    }
}

#[test]
fn an_answer_that_was_cut_short_is_not_kept() {
    let asked = question(1, packet::A);
    let mut cut = answer(&asked, Code::NoError, &[ip(60)], &[]);
    cut[2] |= 0x02;
    assert_eq!(holds_for(&Query::parse(&asked).unwrap(), &cut), None);
}

#[test]
fn what_is_given_again_differs_in_the_id_and_the_time_that_has_passed() {
    let (first, second) = (question(1, packet::A), question(2, packet::A));
    let (first, second) = (Query::parse(&first).unwrap(), Query::parse(&second).unwrap());
    let (cache, start) = (Cache::default(), Instant::now());
    let told = answer(first.bytes, Code::NoError, &[ip(60), ip(90)], &[]);
    cache.keep(&first, Transport::Udp, &told, start);
    let again = cache.find(&second, Transport::Udp, start + SECOND * 20).unwrap();
    assert_eq!(again, answer(second.bytes, Code::NoError, &[ip(40), ip(70)], &[]));
}

#[test]
fn another_question_or_transport_is_asked_for_itself() {
    let asked = question(1, packet::A);
    let query = Query::parse(&asked).unwrap();
    let (cache, start) = (Cache::default(), Instant::now());
    cache.keep(&query, Transport::Udp, &answer(&asked, Code::NoError, &[ip(60)], &[]), start);
    assert!(cache.find(&query, Transport::Tcp, start).is_none());
    let mut other = vec![question(1, packet::AAAA), asked.clone(), asked.clone(), asked.clone()];
    // Recursion not desired, checking disabled, another case.
    other[1][2] = 0;
    other[2][3] = 0x10;
    other[3][13] = b'A';
    for other in other {
        assert!(cache.find(&Query::parse(&other).unwrap(), Transport::Udp, start).is_none(), "{other:?}");
    }
}

#[test]
fn the_cache_does_not_grow_without_end() {
    let (cache, start) = (Cache::default(), Instant::now());
    let ask = |number: u32| {
        let mut asked = question(1, packet::A);
        asked.splice(13..14, *b"aaaa");
        asked[12] = 4;
        asked[13..17].copy_from_slice(&number.to_be_bytes());
        asked
    };
    for number in 0..20_000 {
        let asked = ask(number);
        let told = answer(&asked, Code::NoError, &[ip(60)], &[]);
        cache.keep(&Query::parse(&asked).unwrap(), Transport::Udp, &told, start);
        // What is asked for again and again stays.
        assert!(cache.find(&Query::parse(&ask(0)).unwrap(), Transport::Udp, start).is_some());
    }
    let halves = cache.lock();
    assert!(halves.young.len() <= HALF && halves.old.len() <= HALF);
}
