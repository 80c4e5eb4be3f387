//! Lines that hold each other: how one is made, and how they are held against each other.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use serde::Serialize;

use super::{Line, Record, Verified, Wanted, lines};

/// What stands for the line before the first.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The length of `,"hash":"<64 hexadecimal digits>"}`.
const HASH_FIELD: usize = 75;

/// Where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    /// Counted from 1.
    pub line: u64,
    pub why: String,
}

/// Everything but the hash, in the order in which it is hashed.
#[derive(Serialize)]
struct Unsealed<'a> {
    seq: u64,
    #[serde(flatten)]
    record: &'a Record,
    previous: &'a str,
}

/// A line with its end, and its hash.
pub fn line(seq: u64, record: &Record, previous: &str) -> (String, String) {
    // Texts and numbers: it cannot fail.
    let body = serde_json::to_string(&Unsealed { seq, record, previous }).unwrap_or_default();
    let hash = citadel::sha256(body.as_bytes());
    let open = body.strip_suffix('}').unwrap_or(&body);
    (format!("{open},\"hash\":\"{hash}\"}}\n"), hash)
}

/// Number and hash of the last whole line, and where it ends; the line before the first has this number and this hash.
pub fn end_of(reader: impl BufRead, before: u64, last: String) -> io::Result<(u64, String, u64)> {
    let (mut seq, mut hash, mut end) = (before, last, 0);
    let mut reader = reader;
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        if bytes.last() != Some(&b'\n') {
            break;
        }
        end += bytes.len() as u64;
        seq += 1;
        // What does not fit is told by the verification; new lines go on behind it.
        hash = serde_json::from_slice::<Line>(&bytes).map_or_else(|_| citadel::sha256(&bytes), |line| line.hash);
        bytes.clear();
    }
    Ok((seq, hash, end))
}

pub fn last_lines(reader: impl BufRead, wanted: &Wanted) -> io::Result<Vec<Line>> {
    let mut found = VecDeque::new();
    for bytes in lines(reader) {
        let Ok(line) = serde_json::from_slice::<Line>(&bytes?) else { continue };
        if wanted.before > 0 && line.seq >= wanted.before {
            break;
        }
        if wanted.wants(&line.record) {
            found.push_front(line);
            found.truncate(wanted.limit);
        }
    }
    Ok(found.into())
}

impl Wanted {
    fn wants(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let within = self.object.as_ref().is_none_or(|wanted| record.object.contains(wanted.as_str()));
        is(&self.actor, &record.actor)
            && is(&self.verb, &record.verb)
            && is(&self.result, &record.result)
            && self.dry_run.is_none_or(|wanted| wanted == record.dry_run)
            && within
    }
}

/// Holds every line up to `seq`, whose hash is `head`, against the one before.
pub fn verify(reader: impl BufRead, seq: u64, head: &str) -> io::Result<Verified> {
    let (mut number, mut previous) = (0, NOTHING.to_owned());
    let broken = |line: u64, why: &str| {
        let broken = Some(Broken { line, why: why.to_owned() });
        Ok(Verified { ok: false, entries: seq, head: head.to_owned(), broken })
    };
    for bytes in lines(reader) {
        let bytes = bytes?;
        if number == seq {
            break;
        }
        number += 1;
        let Ok(line) = serde_json::from_slice::<Line>(&bytes) else { return broken(number, "it is no entry") };
        let body = bytes.len().checked_sub(HASH_FIELD).map(|length| [&bytes[..length], b"}"].concat());
        if body.is_none_or(|body| citadel::sha256(&body) != line.hash) {
            return broken(number, "its content is not what its hash says");
        }
        if line.previous != previous {
            return broken(number, "it does not follow the line before it");
        }
        if line.seq != number {
            return broken(number, "its number is not its place");
        }
        previous = line.hash;
    }
    if number < seq {
        return broken(number + 1, "lines are missing at the end");
    }
    if previous != head {
        return broken(number, "the last line is another than the one that was written");
    }
    Ok(Verified { ok: true, entries: seq, head: previous, broken: None })
}
