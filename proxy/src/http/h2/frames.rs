//! Follows the frame headers in a stream of bytes (RFC 9113 section 4.1), whatever pieces it comes in.

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// END_STREAM of DATA and HEADERS; ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
}

impl Frame {
    pub fn ends_stream(self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    pub fn is_ack(self) -> bool {
        self.flags & FIRST_FLAG != 0
    }
}

const HEADER: usize = 9;

#[derive(Debug)]
pub struct Follower {
    /// Bytes until the next frame header: a payload, or a preface.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
}

impl Follower {
    /// Follows what comes after `preface` bytes.
    pub fn new(preface: usize) -> Self {
        Self { skip: preface, header: [0; HEADER], have: 0 }
    }

    /// Tells of each frame whose header is complete with these bytes.
    pub fn feed(&mut self, mut bytes: &[u8], mut told: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.have).min(bytes.len());
            if taken == 0 {
                return;
            }
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.have = 0;
                self.skip = length as usize;
                told(Frame { length, kind, flags });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whatever_pieces_they_come_in() {
        let mut bytes = super::super::PREFACE.to_vec();
        bytes.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 3, DATA, 1, 0, 0, 0, 1, b'a', b'b', b'c']);
        bytes.extend([0, 0, 8, PING, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for size in 1..bytes.len() {
            let mut follower = Follower::new(super::super::PREFACE.len());
            let mut frames = Vec::new();
            bytes.chunks(size).for_each(|piece| follower.feed(piece, |frame| frames.push(frame)));
            let told: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.length, frame.ends_stream())).collect();
            assert_eq!(told, [(SETTINGS, 0, false), (DATA, 3, true), (PING, 8, true)], "in pieces of {size}");
        }
    }
}
