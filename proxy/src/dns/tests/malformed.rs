//! Bytes that are no questions: nothing panics, and what can be answered is.

use super::super::packet::{Code, HEADER, NoQuery, Query, records};
use super::kit::{Asker, Nameserver, Reply, header, question, table, with_edns};
use super::*;

/// What is wrong with the bytes, the bytes, and the code that they are answered with; `None` for none at all.
fn cases() -> Vec<(&'static str, Vec<u8>, Option<u8>)> {
    let head = |counts| header(7, 0x0100, counts);
    let one = |rest: &[u8]| [&head([1, 0, 0, 0])[..], rest].concat();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = question(7, "reviews", A);
        change(&mut bytes);
        bytes
    };
    let long_name = [[&[63][..], &[b'a'; 63]].concat().repeat(4), b"\0\0\x01\0\x01".to_vec()].concat();
    vec![
        ("nothing", vec![], None),
        ("one byte", vec![7], None),
        ("half a head", head([1, 0, 0, 0])[..11].to_vec(), None),
        ("an answer", with(|bytes| bytes[2] |= 0x80), None),
        ("an answer without a question", header(7, 0x8180, [0, 0, 0, 0]), None),
        ("no question", head([0, 0, 0, 0]), Some(1)),
        ("two questions", with(|bytes| bytes[5] = 2), Some(1)),
        ("65535 questions", with(|bytes| bytes[4..6].fill(0xff)), Some(1)),
        ("a question that is not there", head([1, 0, 0, 0]), Some(1)),
        ("a name without an end", one(b"\x07reviews"), Some(1)),
        ("a label longer than the rest", one(b"\x3freviews\0\0\x01\0\x01"), Some(1)),
        ("a name that is too long", one(&long_name), Some(1)),
        ("a label of a kind that there is not", one(b"\x40\x07reviews\0\0\x01\0\x01"), Some(1)),
        ("a pointer for a name", one(b"\xc0\x0c\0\x01\0\x01"), Some(1)),
        ("a pointer to the end", one(b"\x07reviews\xc0\xff\0\x01\0\x01"), Some(1)),
        ("half a pointer", one(b"\x07reviews\xc0"), Some(1)),
        ("no kind", one(b"\x07reviews\0"), Some(1)),
        ("no class", one(b"\x07reviews\0\0\x01"), Some(1)),
        ("a record that is not there", with(|bytes| bytes[11] = 1), Some(1)),
        ("65535 records that are not there", with(|bytes| bytes[6..12].fill(0xff)), Some(1)),
        ("half an OPT", with_edns(&question(7, "reviews", A), 512, 0)[..30].to_vec(), Some(1)),
        (
            "an OPT longer than the rest",
            with(|bytes| {
                *bytes = with_edns(bytes, 512, 0);
                let end = bytes.len();
                bytes[end - 1] = 9;
            }),
            Some(1),
        ),
    ]
}

#[tokio::test]
async fn what_is_no_question_is_refused_or_dropped() {
    let upstream = Nameserver::start(Reply::Echo).await;
    let asker = Asker::start(&upstream, Some(table())).await;
    for (what, bytes, code) in cases() {
        let Some(code) = code else {
            assert_eq!(Query::parse(&bytes).err(), Some(NoQuery::Drop), "{what}");
            continue;
        };
        for answer in [asker.udp(&bytes).await, asker.tcp(&bytes).await] {
            assert_eq!((&answer[..2], answer[2] & 0x80, answer[3] & 0x0f), (&bytes[..2], 0x80, code), "{what}");
            assert!(records(&answer).is_some(), "{what}: the answer itself can be read");
        }
    }
    assert_eq!(upstream.asked(), 0);
    assert_eq!(asker.addresses("reviews", A).await, ["10.0.0.1"], "and it goes on");
}

#[test]
fn no_bytes_pass_for_an_answer_by_accident() {
    let asked = question(7, "reviews", A);
    let query = Query::parse(&asked).unwrap();
    let mut answer = asked.clone();
    answer[2] |= 0x80;
    assert!(query.is_answered_by(&answer, [0, 7]));
    for length in 0..answer.len() {
        assert!(!query.is_answered_by(&answer[..length], [0, 7]), "{length}");
    }
    // A server that does not understand may leave the question out, if it says so.
    let bare = |code: u16| header(7, 0x8180 | code, [0, 0, 0, 0]);
    assert!(query.is_answered_by(&bare(Code::FormatError as u16), [0, 7]));
    assert!(!query.is_answered_by(&bare(0), [0, 7]));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
        crate::fuzz::run("dns", &bytes);
        // The same behind a good head, which gets further.
        crate::fuzz::run("dns", &[&header(7, 0x0100, [1, 1, 1, 1])[..], &bytes].concat());
        proptest::prop_assert!(records(&bytes).is_none() || bytes.len() >= HEADER);
    }
}
