//! A list of headers in one block of memory: lines as HTTP/1.1 writes them lie one after another in a byte arena, and
//! each entry is three small numbers. A request is routed, changed and written out again without an allocation per
//! header, and its block serves the next request of the thread.
//!
//! Names are lower case (RFC 9113 section 8.2; HTTP/1.1 names are folded on the way in). Order is kept. Pseudo-headers
//! of HTTP/2 are not in here: they are fields of the head.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Headers of a request or response, or trailers. Small to move: what they hold lies elsewhere.
#[derive(Default)]
pub struct Headers {
    block: Option<Box<Block>>,
}

#[derive(Default)]
struct Block {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Blocks that wait for their next use, per thread, and the largest that is kept.
const KEPT: usize = 256;
const LARGEST_KEPT: usize = 16 * 1024;

thread_local! {
    // Boxed, so that what moves between the pool and a head is a pointer.
    #[allow(clippy::vec_box)]
    static BLOCKS: RefCell<Vec<Box<Block>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Headers {
    fn drop(&mut self) {
        let Some(mut block) = self.block.take().filter(|block| block.arena.capacity() <= LARGEST_KEPT) else { return };
        block.arena.clear();
        block.entries.clear();
        // At the end of the thread there is nowhere to keep it.
        let _ = BLOCKS.try_with(|blocks| {
            let mut blocks = blocks.borrow_mut();
            if blocks.len() < KEPT {
                blocks.push(block);
            }
        });
    }
}

impl Clone for Headers {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        if let Some(from) = &self.block {
            let to = copy.block();
            to.arena.extend_from_slice(&from.arena);
            to.entries.extend_from_slice(&from.entries);
        }
        copy
    }
}

#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    name_len: u16,
    /// Marks a removed entry, so that removal moves nothing.
    live: bool,
    value_len: u32,
}

impl Entry {
    fn name(&self) -> Range<usize> {
        let start = self.name as usize;
        start..start + usize::from(self.name_len)
    }

    fn value(&self) -> Range<usize> {
        let start = self.name().end + BETWEEN.len();
        start..start + self.value_len as usize
    }

    fn line(&self) -> Range<usize> {
        self.name as usize..self.value().end + END.len()
    }
}

/// Between name and value, and after the value.
const BETWEEN: &[u8] = b": ";
const END: &[u8] = b"\r\n";

/// A name or value that no header may have (RFC 9110 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("a header name is a token of at most 65535 bytes")]
    Name,
    #[error("a header value has no NUL, CR or LF")]
    Value,
    #[error("the headers together exceed 4 GiB")]
    Size,
}

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for about `bytes` bytes of names and values.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut headers = Self::default();
        headers.block().arena.reserve(bytes);
        headers
    }

    fn block(&mut self) -> &mut Block {
        let kept = || BLOCKS.try_with(|blocks| blocks.borrow_mut().pop()).ok().flatten();
        self.block.get_or_insert_with(|| kept().unwrap_or_default())
    }

    fn entries(&self) -> &[Entry] {
        self.block.as_ref().map_or(&[], |block| &block.entries)
    }

    fn arena(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.arena)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many headers there are; a repeated name counts each time.
    pub fn len(&self) -> usize {
        self.entries().iter().filter(|entry| entry.live).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all names and values.
    pub fn byte_len(&self) -> usize {
        self.live().map(|entry| usize::from(entry.name_len) + entry.value_len as usize).sum()
    }

    /// Adds a header after checking it. The name is folded to lower case.
    pub fn try_append(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        if name.is_empty() || !name.iter().all(|b| TOKEN[usize::from(*b)]) {
            return Err(HeaderError::Name);
        }
        if has_line_end(value) {
            return Err(HeaderError::Value);
        }
        self.append_read(name, value)
    }

    /// Adds a header whose name and value were checked as they were read. The name is folded to lower case.
    pub fn append_read(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        debug_assert!(name.iter().all(|b| is_token(*b)) && !has_line_end(value));
        if name.len() > usize::from(u16::MAX) {
            return Err(HeaderError::Name);
        }
        if self.arena().len() + name.len() + value.len() + BETWEEN.len() + END.len() > u32::MAX as usize {
            return Err(HeaderError::Size);
        }
        self.push(name, value);
        Ok(())
    }

    /// Adds a header that is known to be valid: a constant name, a value that was checked or made here. A value that
    /// is not valid after all is left out rather than sent.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let checked = self.try_append(name.as_bytes(), value.as_ref());
        debug_assert!(checked.is_ok(), "{name}: {checked:?}");
    }

    /// Replaces every header of that name by one. Invalid values are left out, and then the name is gone.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        let _ = self.try_append(name.as_bytes(), value.as_ref());
    }

    /// Replaces every header of that name by a number.
    pub fn set_number(&mut self, name: &str, number: u64) {
        self.set(name, decimal(number, &mut [0; 20]));
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let block = self.block();
        let start = block.arena.len();
        block.arena.reserve(name.len() + value.len() + BETWEEN.len() + END.len());
        block.arena.extend_from_slice(name);
        block.arena[start..].make_ascii_lowercase();
        block.arena.extend_from_slice(BETWEEN);
        block.arena.extend_from_slice(value);
        block.arena.extend_from_slice(END);
        block.entries.push(Entry {
            name: start as u32,
            name_len: name.len() as u16,
            live: true,
            value_len: value.len() as u32,
        });
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.entries().iter().filter(|entry| entry.live)
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.arena()[range]
    }

    fn name_of(&self, entry: &Entry) -> &[u8] {
        self.bytes(entry.name())
    }

    fn value_of(&self, entry: &Entry) -> &[u8] {
        self.bytes(entry.value())
    }

    /// Names, and whole lines as HTTP/1.1 writes them.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.live().map(|entry| (self.name_of(entry), self.bytes(entry.line())))
    }

    /// Whether any name begins like that.
    pub fn any_begins_with(&self, prefix: &[u8]) -> bool {
        self.live().any(|entry| self.name_of(entry).starts_with(prefix))
    }

    /// The first value of a header. `name` is lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of a header, where it is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Every value of a header, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_bytes();
        self.live()
            .filter(move |entry| usize::from(entry.name_len) == name.len() && self.name_of(entry) == name)
            .map(|entry| self.value_of(entry))
    }

    /// All values of a header joined by a comma, as policies and matchers must see it (RFC 9110 section 5.3);
    /// borrowed where there is one.
    pub fn joined(&self, name: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        let mut values = self.get_all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.into()) };
        let mut all = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            all.push(b',');
            all.extend_from_slice(value);
        }
        Some(all.into())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Removes every header of that name; true if there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let name = name.as_bytes();
        let mut found = false;
        self.retain(|other, _| {
            let same = other == name;
            found |= same;
            !same
        });
        found
    }

    /// Keeps the headers for which `keep(name, value)` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let Some(block) = self.block.as_deref_mut() else { return };
        let Block { arena, entries } = block;
        for entry in entries.iter_mut().filter(|entry| entry.live) {
            entry.live = keep(&arena[entry.name()], &arena[entry.value()]);
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.live().map(|entry| (self.name_of(entry), self.value_of(entry)))
    }
}

/// A number in decimal digits.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token(byte as u8);
        byte += 1;
    }
    table
};

/// Whether a value holds what would end its line, or the text.
fn has_line_end(value: &[u8]) -> bool {
    // All in one pass without branches, which the compiler turns into vector instructions.
    value.iter().fold(false, |found, b| found | (*b == 0) | (*b == b'\r') | (*b == b'\n'))
}

/// Whether a header may stand in a trailer. Those that frame, route, authenticate or judge a message were needed before
/// its body: in a trailer they can only deceive (RFC 9110 section 6.5.1).
pub fn may_trail(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 2] = [b"x-forwarded-", b"x-envoy-"];
    const NAMES: [&[u8]; 28] = [
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"location",
        b"max-forwards",
        b"origin",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"vary",
        b"www-authenticate",
        b"x-request-id",
    ];
    !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !NAMES.contains(&name)
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value))))
            .finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(iter: T) -> Self {
        let mut headers = Self::new();
        for (name, value) in iter {
            headers.append(name, value);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_and_order_and_repeats_are_kept() {
        let headers: Headers = [("X-B", "1"), ("a", "2"), ("x-b", "3")].into_iter().collect();
        assert_eq!(headers.get("x-b"), Some(&b"1"[..]));
        assert_eq!(headers.joined("x-b").as_deref(), Some(&b"1,3"[..]));
        let names: Vec<_> = headers.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names, [b"x-b".to_vec(), b"a".to_vec(), b"x-b".to_vec()]);
    }

    #[test]
    fn set_replaces_and_remove_removes_every_one() {
        let mut headers: Headers = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        headers.set("a", "9");
        assert_eq!(headers, [("b", "2"), ("a", "9")].into_iter().collect());
        assert!(headers.remove("a") && !headers.remove("a"));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_would_split_a_message_is_refused() {
        let mut headers = Headers::new();
        assert_eq!(headers.try_append(b"a b", b""), Err(HeaderError::Name));
        assert_eq!(headers.try_append(b"", b""), Err(HeaderError::Name));
        assert_eq!(headers.try_append(b"a", b"x\r\ny: z"), Err(HeaderError::Value));
        assert!(headers.is_empty());
    }
}
