//! Clients of gRPC on Unix sockets send the socket's path as `:authority`, as it is or with `%2F` for each slash (C core,
//! and with it Python and C++; Java). That is no authority (RFC 3986 section 3.2), and our HTTP/2 library refuses the
//! whole request. Nobody looks at it here, so the signs that are wrong in it are replaced, one by one: lengths stay as
//! they are, and with them the framing and the tables of compressed headers.

const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Before the first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;
/// The largest frame that a client may send while the server has not said otherwise.
const MAX_FRAME: usize = 16_384;
/// Of `:authority` in the static table (RFC 7541 appendix A).
const AUTHORITY: usize = 1;

/// Mends a client's bytes as they come.
#[derive(Debug)]
pub struct Mender {
    /// Bytes that are handed on as they are.
    plain: usize,
    /// The head of a frame and, of a frame of headers, what is there of its payload.
    held: Vec<u8>,
}

impl Default for Mender {
    fn default() -> Self {
        Self { plain: PREFACE, held: Vec::new() }
    }
}

impl Mender {
    /// Takes what arrived, and appends what can be handed on.
    pub fn take(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.plain > 0 {
                let (now, rest) = input.split_at(self.plain.min(input.len()));
                out.extend_from_slice(now);
                self.plain -= now.len();
                input = rest;
                continue;
            }
            let (now, rest) = input.split_at((self.wanted() - self.held.len()).min(input.len()));
            self.held.extend_from_slice(now);
            input = rest;
            match self.held.len() {
                HEAD if self.wanted() == HEAD => {
                    self.plain = length(&self.held);
                    out.append(&mut self.held);
                }
                held if held > HEAD && held == self.wanted() => {
                    mend_frame(&mut self.held);
                    out.append(&mut self.held);
                }
                _ => {}
            }
        }
    }

    /// How many bytes are gathered before something can be done.
    fn wanted(&self) -> usize {
        if self.held.len() < HEAD {
            return HEAD;
        }
        match length(&self.held) {
            length if self.held[3] == HEADERS && length <= MAX_FRAME => HEAD + length,
            _ => HEAD,
        }
    }
}

fn length(head: &[u8]) -> usize {
    head.iter().take(3).fold(0, |length, byte| length << 8 | usize::from(*byte))
}

/// A whole frame of headers. What does not parse is for the library to refuse.
fn mend_frame(frame: &mut [u8]) {
    let flags = frame[4];
    let payload = &mut frame[HEAD..];
    let (mut start, mut end) = (0, payload.len());
    if flags & PADDED != 0 {
        start = 1;
        end = end.saturating_sub(payload.first().copied().map_or(0, usize::from));
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    if let Some(block) = payload.get_mut(start..end) {
        let _ = mend_block(block);
    }
}

/// Goes through the fields of a block (RFC 7541 section 6) without looking names up.
fn mend_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        if first & 0x80 != 0 {
            integer(block, &mut at, 7)?;
            continue;
        }
        if first & 0xe0 == 0x20 {
            integer(block, &mut at, 5)?;
            continue;
        }
        let name = integer(block, &mut at, if first & 0x40 != 0 { 6 } else { 4 })?;
        let mut is_authority = name == AUTHORITY;
        if name == 0 {
            let (plain, from, to) = string(block, &mut at)?;
            is_authority = plain && &block[from..to] == b":authority";
        }
        let (plain, from, to) = string(block, &mut at)?;
        if is_authority && plain {
            mend(&mut block[from..to]);
        }
    }
    Some(())
}

/// RFC 7541 section 5.1.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether it is not Huffman-coded, and where it is (RFC 7541 section 5.2).
fn string(block: &[u8], at: &mut usize) -> Option<(bool, usize, usize)> {
    let plain = block.get(*at)? & 0x80 == 0;
    let length = integer(block, at, 7)?;
    let (from, to) = (*at, at.checked_add(length)?);
    *at = to;
    (to <= block.len()).then_some((plain, from, to))
}

fn mend(authority: &mut [u8]) {
    if authority.iter().any(|byte| matches!(byte, b'%' | b'/')) {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        authority.iter_mut().filter(|byte| !good(**byte)).for_each(|byte| *byte = b'_');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"%2Frun%2Fweft%2Fworkload.sock";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn literal(first: u8, value: &[u8]) -> Vec<u8> {
        [&[first, value.len() as u8], value].concat()
    }

    fn through(bytes: &[u8], step: usize) -> Vec<u8> {
        let (mut mender, mut out) = (Mender::default(), Vec::new());
        bytes.chunks(step).for_each(|chunk| mender.take(chunk, &mut out));
        out
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn a_path_becomes_a_name_of_the_same_length_however_it_arrives() {
        let block = [&[0x82, 0x86][..], &literal(0x41, PATH), &literal(0x04, b"/Service/Call%2F")].concat();
        let padded = [&[3][..], &[0; 5], &block, &[0; 3]].concat();
        for headers in [frame(HEADERS, 4, &block), frame(HEADERS, 4 | PADDED | PRIORITY, &padded)] {
            let bytes = [&[b'P'; PREFACE][..], &frame(4, 0, &[0; 6]), &headers, &frame(0, 1, PATH), &headers].concat();
            for step in [1, 7, bytes.len()] {
                let out = through(&bytes, step);
                assert_eq!(out.len(), bytes.len());
                let told = text(&out);
                assert_eq!(told.matches("_2Frun_2Fweft_2Fworkload.sock").count(), 2, "{told}");
                assert_eq!(told.matches("/Service/Call%2F").count(), 2, "nothing else is touched: {told}");
                assert_eq!(told.matches("%2Frun%2Fweft%2Fworkload.sock").count(), 1, "data is not touched: {told}");
            }
        }
    }

    #[test]
    fn a_path_as_it_is_and_one_under_a_spelled_out_name_are_mended_too() {
        let named = [&[0x40][..], &[10], b":authority", &[5], b"/a/b:"].concat();
        let out = through(&[&[0; PREFACE][..], &frame(HEADERS, 4, &named)].concat(), 3);
        assert!(text(&out).ends_with(":authority\u{5}_a_b_"), "{out:?}");
    }

    #[test]
    fn an_authority_that_is_one_stays_as_it_is() {
        for good in [&b"localhost"[..], b"127.0.0.1:80", b"[::1]:80", b"user@host"] {
            let bytes = [&[0; PREFACE][..], &frame(HEADERS, 4, &literal(0x41, good))].concat();
            assert_eq!(through(&bytes, 4), bytes);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_lost_or_added(bytes in proptest::collection::vec(0u8.., 1..400), step in 1usize..50) {
            let bytes = [&[0; PREFACE][..], &frame(HEADERS, bytes[0], &bytes)].concat();
            let out = through(&bytes, step);
            proptest::prop_assert_eq!(out.len(), bytes.len());
            proptest::prop_assert_eq!(&out, &through(&bytes, bytes.len()));
        }
    }
}
