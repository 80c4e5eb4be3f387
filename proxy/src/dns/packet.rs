//! DNS messages (RFC 1035) as far as an agent reads and writes them: one question, what a cache has to know of an
//! answer, and answers of addresses. Whatever else a message holds passes through unread.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use rand::seq::SliceRandom as _;

/// The length of a message's head.
pub const HEADER: usize = 12;
/// What fits into UDP where the asker does not say (RFC 1035 §4.2.1).
const PLAIN_UDP: usize = 512;
/// The most over UDP, whatever the asker takes.
const MOST_UDP: usize = 4096;
const LONGEST_NAME: usize = 255;
/// How long addresses of the mesh may be kept, in seconds (Istio's agent says the same).
const TTL: u32 = 30;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;
const OPT: u16 = 41;
pub const INTERNET: u16 = 1;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const AUTHENTIC_DATA: u8 = 0x20;

/// What the last four bits of the flags say (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A message that asks one question.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub bytes: &'a [u8],
    question_end: usize,
    /// In lower case, without a trailing dot; `None` for one that no host can have.
    pub name: Option<String>,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns>,
    /// Whether what follows the question can be read.
    pub is_whole: bool,
}

/// What an asker says in an OPT record (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    pub size: u16,
    pub version: u8,
    /// Cookies and the like, which make answers to the same question differ.
    pub has_options: bool,
}

/// What is to be done with bytes that ask no question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoQuery {
    /// An answer, or too short to be answered.
    Drop,
    /// Answer this.
    Answer(Vec<u8>),
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: u16,
    pub ttl: u32,
    pub ttl_at: usize,
    pub data: Range<usize>,
    pub section: Section,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

impl<'a> Query<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoQuery> {
        if bytes.len() < HEADER || bytes[2] & RESPONSE != 0 {
            return Err(NoQuery::Drop);
        }
        let broken = || NoQuery::Answer(head_only(bytes, Code::FormatError));
        if number(bytes, 4) != Some(1) {
            return Err(broken());
        }
        let name_end = plain_name(bytes, HEADER).ok_or_else(broken)?;
        let (kind, class) = number(bytes, name_end).zip(number(bytes, name_end + 2)).ok_or_else(broken)?;
        let question_end = name_end + 4;
        let rest = records(bytes);
        let opt = rest.iter().flatten().find(|record| record.kind == OPT && record.section == Section::Additional);
        let edns = opt.and_then(|opt| Edns::parse(bytes, opt));
        let name = hostname(&bytes[HEADER..name_end]);
        Ok(Self { bytes, question_end, name, kind, class, edns, is_whole: rest.is_some() })
    }

    pub fn id(&self) -> [u8; 2] {
        [self.bytes[0], self.bytes[1]]
    }

    fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..self.question_end]
    }

    /// Whether it asks for something at all, and does not notify or update.
    pub fn is_standard(&self) -> bool {
        self.bytes[2] & OPCODE == 0
    }

    /// The longest answer that the asker takes.
    fn limit(&self, transport: Transport) -> usize {
        match (transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, Some(edns)) => usize::from(edns.size).clamp(PLAIN_UDP, MOST_UDP),
            (Transport::Udp, None) => PLAIN_UDP,
        }
    }

    /// Whether bytes from upstream answer this question, asked under the id `id`. A server that did not understand it
    /// may leave the question out.
    pub fn is_answered_by(&self, answer: &[u8], id: [u8; 2]) -> bool {
        if answer.len() < HEADER || answer[..2] != id || answer[2] & RESPONSE == 0 {
            return false;
        }
        if answer[2] & OPCODE != self.bytes[2] & OPCODE {
            return false;
        }
        match number(answer, 4) {
            Some(0) => code(answer) != Code::NoError as u8,
            Some(1) => {
                let Some(asked) = answer.get(HEADER..self.question_end) else { return false };
                let (name, rest) = asked.split_at(asked.len() - 4);
                let (own_name, own_rest) = self.question().split_at(asked.len() - 4);
                name.eq_ignore_ascii_case(own_name) && rest == own_rest
            }
            _ => false,
        }
    }

    /// Says that it cannot be answered.
    pub fn refuse(&self, code: Code) -> Vec<u8> {
        let mut out = self.head(0, code);
        self.end(&mut out, 0);
        out
    }

    /// Says that no such version of EDNS is understood (RFC 6891 §6.1.3).
    pub fn refuse_version(&self) -> Vec<u8> {
        let mut out = self.refuse(Code::NoError);
        // BADVERS is 16: its upper bits stand in the OPT record, where a TTL would.
        let upper = out.len() - 6;
        out[upper] = 1;
        out
    }

    /// Answers with addresses, perhaps of a name that this one stands for. With none: the name exists, and has nothing
    /// of this kind (RFC 2308 §2.2). What does not fit is left out, and the answer says so.
    pub fn answer(&self, stands_for: Option<&str>, addresses: &Addresses<'_>, transport: Transport) -> Vec<u8> {
        let mut out = self.head(AUTHORITATIVE, Code::NoError);
        let limit = self.limit(transport) - if self.edns.is_some() { OPT_LENGTH } else { 0 };
        // The question's name, and then that of the other.
        let mut owner = pointer(HEADER);
        let mut count: u16 = 0;
        let stands_for = stands_for.map(|target| (CNAME, name(target)));
        let addresses = addresses.shuffled().into_iter().map(|data| (self.kind, data));
        for (kind, data) in stands_for.into_iter().chain(addresses) {
            if out.len() + RECORD_HEAD + data.len() > limit {
                out[2] |= TRUNCATED;
                break;
            }
            record(&mut out, owner, kind, &data);
            if kind == CNAME {
                owner = pointer(out.len() - data.len());
            }
            count += 1;
        }
        self.end(&mut out, count);
        out
    }

    /// Answers a question of whose an address is with a name (RFC 1035 §3.5).
    pub fn answer_with_name(&self, host: &str) -> Vec<u8> {
        let mut out = self.head(AUTHORITATIVE, Code::NoError);
        record(&mut out, pointer(HEADER), PTR, &name(host));
        self.end(&mut out, 1);
        out
    }

    /// The head and the question.
    fn head(&self, flags: u8, code: Code) -> Vec<u8> {
        let mut out = head_only(self.bytes, code);
        out[2] |= flags;
        out[5] = 1;
        out.extend_from_slice(self.question());
        out
    }

    /// Fills in how many answers there are, and answers an OPT record by one (RFC 6891 §6.1.1).
    fn end(&self, out: &mut Vec<u8>, answers: u16) {
        out[6..8].copy_from_slice(&answers.to_be_bytes());
        if self.edns.is_some() {
            out[11] = 1;
            out.push(0);
            out.extend(OPT.to_be_bytes());
            out.extend((MOST_UDP as u16).to_be_bytes());
            out.extend([0; 6]);
        }
    }
}

const OPT_LENGTH: usize = 11;
/// A record without its data, its owner being a pointer.
const RECORD_HEAD: usize = 12;

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
pub enum Addresses<'a> {
    V4(&'a [Ipv4Addr]),
    V6(&'a [Ipv6Addr]),
    None,
}

impl Addresses<'_> {
    /// In an order of the day, so that callers who take the first spread.
    fn shuffled(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = match self {
            Self::V4(ips) => ips.iter().map(|ip| ip.octets().to_vec()).collect(),
            Self::V6(ips) => ips.iter().map(|ip| ip.octets().to_vec()).collect(),
            Self::None => Vec::new(),
        };
        all.shuffle(&mut rand::rng());
        all
    }
}

impl Edns {
    fn parse(bytes: &[u8], opt: &Record) -> Option<Self> {
        // Before the TTL stand the type and the class, which is the size.
        let size = number(bytes, opt.ttl_at - 2)?;
        Some(Self { size, version: opt.ttl.to_be_bytes()[1], has_options: !opt.data.is_empty() })
    }
}

/// An answer's code.
pub fn code(message: &[u8]) -> u8 {
    message.get(3).map_or(Code::ServerFailure as u8, |flags| flags & 0x0f)
}

/// Makes "there is no such name" into "the name has nothing of that kind": for how long, its SOA record says as before
/// (RFC 2308 §2.2).
pub fn grant_the_name(message: &mut [u8]) {
    if code(message) == Code::NoSuchName as u8 {
        message[3] &= !(0x0f | AUTHENTIC_DATA);
    }
}

pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

/// All records after the questions; `None` if the message is not what it says.
pub fn records(bytes: &[u8]) -> Option<Vec<Record>> {
    let mut at = HEADER;
    for _ in 0..number(bytes, 4)? {
        at = end_of_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for (place, section) in [(6, Section::Answer), (8, Section::Authority), (10, Section::Additional)] {
        for _ in 0..number(bytes, place)? {
            let name_end = end_of_name(bytes, at)?;
            let (kind, ttl_at) = (number(bytes, name_end)?, name_end + 4);
            let ttl = u32::from_be_bytes(bytes.get(ttl_at..ttl_at + 4)?.try_into().ok()?);
            let start = ttl_at + 6;
            let data = start..start + usize::from(number(bytes, ttl_at + 4)?);
            bytes.get(data.clone())?;
            at = data.end;
            // RFC 2181 §8: a TTL whose first bit is set counts as none.
            let ttl = if kind != OPT && ttl > i32::MAX as u32 { 0 } else { ttl };
            found.push(Record { kind, ttl, ttl_at, data, section });
        }
    }
    (at <= bytes.len()).then_some(found)
}

impl Record {
    pub fn is_opt(&self) -> bool {
        self.kind == OPT
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Where a name ends that holds no pointers.
fn plain_name(bytes: &[u8], start: usize) -> Option<usize> {
    let end = end_of_name(bytes, start)?;
    let is_plain = end - start <= LONGEST_NAME && bytes[end - 1] == 0;
    is_plain.then_some(end)
}

/// Where a name ends; a pointer, which is the end of one, is not followed.
fn end_of_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return bytes.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// A name of plain labels as text; `None` if it holds what no hostname does.
fn hostname(mut labels: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((length, rest)) = labels.split_first().filter(|(length, _)| **length > 0) {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.to_ascii_lowercase().into()),
                _ => return None,
            }
        }
        labels = rest;
    }
    Some(text)
}

/// A hostname as labels.
fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for label in text.split('.').filter(|label| !label.is_empty()) {
        // Hostnames have labels of 63 characters at most.
        out.push(label.len().min(63) as u8);
        out.extend(label.bytes().take(63));
    }
    out.push(0);
    out
}

fn pointer(to: usize) -> [u8; 2] {
    // Names stand within the first few hundred bytes.
    (0xc000 | to as u16).to_be_bytes()
}

fn record(out: &mut Vec<u8>, owner: [u8; 2], kind: u16, data: &[u8]) {
    out.extend(owner);
    out.extend(kind.to_be_bytes());
    out.extend(INTERNET.to_be_bytes());
    out.extend(TTL.to_be_bytes());
    out.extend((data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

/// The head of an answer to these bytes, which say at least their id.
fn head_only(bytes: &[u8], code: Code) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out[..2].copy_from_slice(&bytes[..2]);
    out[2] = RESPONSE | bytes[2] & (OPCODE | RECURSION_DESIRED);
    out[3] = RECURSION_AVAILABLE | code as u8;
    out
}
