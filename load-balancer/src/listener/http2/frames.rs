//! Where HTTP/2's frames begin, in a stream of bytes that comes in any pieces (RFC 9113, 4.1).
//!
//! The library behind reads and writes the frames; here their heads alone are looked at, in both directions, so that what
//! costs and asks for nothing can be counted. Pure, and it cannot fail: any nine bytes are a head, and whether the frame may
//! come is the library's to judge.

/// Bytes with which a client says that it speaks HTTP/2 (RFC 9113, 3.4).
pub(in crate::listener) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Bytes of a frame's beginning that are kept: its head, and the error code of RST_STREAM.
const KEPT: usize = HEAD + 4;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// A head or trailers, or their beginning.
    Headers,
    /// The end of a stream before its time.
    Reset,
    /// More of a head.
    Continuation,
    /// A wider window.
    Window,
    /// SETTINGS, PING, PRIORITY, GOAWAY, and what nobody knows.
    Other,
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// The stream it belongs to.
    pub stream: u32,
    /// Bytes of its payload.
    pub length: u32,
    /// END_STREAM: nothing of this stream comes behind it.
    pub last: bool,
    /// END_HEADERS: the head is complete with it.
    pub whole_head: bool,
    /// The error code of RST_STREAM.
    pub code: u32,
}

/// A position in one direction of a connection.
#[derive(Debug, Default)]
pub struct Frames {
    kept: [u8; KEPT],
    have: usize,
    /// Bytes of the present frame, or of what comes before the first, that are still to be passed over.
    left: u32,
}

impl Frames {
    /// Of what a client sends: its preface comes first.
    #[must_use]
    pub fn after_preface() -> Self {
        Frames { left: PREFACE.len() as u32, ..Frames::default() }
    }

    /// Whether the last byte that passed was a frame's last.
    #[must_use]
    pub fn between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether it was one of a frame's payload, and not the last of it.
    #[must_use]
    pub fn inside(&self) -> bool {
        self.left > 0
    }

    /// Passes the next bytes; tells `each` about every frame whose head is complete with them.
    pub fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.left > 0 && self.have == 0 {
                let skipped = bytes.len().min(self.left as usize);
                self.left -= skipped as u32;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.have);
            self.kept[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have >= HEAD && self.have == self.wanted() {
                each(self.frame());
                self.left = self.length() - (self.have - HEAD) as u32;
                self.have = 0;
            }
        }
    }

    /// Bytes of the present frame that must be there before it is told.
    fn wanted(&self) -> usize {
        const RESET: u8 = 3;
        let coded = self.have >= HEAD && self.kept[3] == RESET && self.length() >= 4;
        if coded { KEPT } else { HEAD }
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.kept[0], self.kept[1], self.kept[2]])
    }

    fn frame(&self) -> Frame {
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let kind = match self.kept[3] {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            8 => Kind::Window,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let flag = |bit| self.kept[4] & bit != 0;
        let [.., a, b, c, d] = self.kept;
        Frame {
            kind,
            stream: u32::from_be_bytes([self.kept[5] & 0x7f, self.kept[6], self.kept[7], self.kept[8]]),
            length: self.length(),
            last: matches!(kind, Kind::Data | Kind::Headers) && flag(END_STREAM),
            whole_head: matches!(kind, Kind::Headers | Kind::Continuation) && flag(END_HEADERS),
            code: if self.have == KEPT { u32::from_be_bytes([a, b, c, d]) } else { 0 },
        }
    }
}

/// A GOAWAY by which a client learns that it made only work: ENHANCE_YOUR_CALM, `newest` being the last stream taken
/// (RFC 9113, 6.8).
pub(super) fn farewell(newest: u32) -> [u8; HEAD + 8] {
    let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    frame[HEAD..HEAD + 4].copy_from_slice(&newest.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn seen(pieces: &[&[u8]], frames: &mut Frames) -> Vec<(Kind, u32, u32)> {
        let mut seen = Vec::new();
        pieces.iter().for_each(|piece| frames.pass(piece, |f| seen.push((f.kind, f.length, f.code))));
        seen
    }

    #[test]
    fn every_cut_shows_the_same_frames() {
        let bytes = [
            PREFACE.to_vec(),
            frame(4, 0, &[]),
            frame(1, 5, &[7; 30]),
            frame(0, 1, &[3; 300]),
            frame(3, 0, &[0, 0, 0, 8]),
            frame(3, 0, &[0, 0]),
            frame(9, 4, &[1]),
            frame(77, 0, &[1, 2, 3]),
        ]
        .concat();
        let all = vec![
            (Kind::Other, 0, 0),
            (Kind::Headers, 30, 0),
            (Kind::Data, 300, 0),
            (Kind::Reset, 4, 8),
            (Kind::Reset, 2, 0),
            (Kind::Continuation, 1, 0),
            (Kind::Other, 3, 0),
        ];
        for cut in 0..bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let mut frames = Frames::after_preface();
            assert_eq!(seen(&[a, b], &mut frames), all, "cut at {cut}");
            assert!(frames.between(), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(seen(&single, &mut Frames::after_preface()), all);
    }

    #[test]
    fn flags_mean_something_only_where_they_do() {
        let of = |kind, flags| {
            let mut found = None;
            Frames::default().pass(&frame(kind, flags, &[]), |f| found = Some((f.last, f.whole_head)));
            found.unwrap()
        };
        assert_eq!(of(0, 1), (true, false));
        assert_eq!(of(1, 4), (false, true));
        assert_eq!(of(9, 4), (false, true));
        assert_eq!(of(6, 1), (false, false), "an answer to a ping ends nothing");
        assert_eq!(of(9, 1), (false, false));
    }

    #[test]
    fn inside_a_frame_is_not_between_two() {
        let bytes = frame(0, 0, &[1; 5]);
        let mut frames = Frames::default();
        assert!(frames.between());
        for (at, byte) in bytes.iter().enumerate() {
            frames.pass(&[*byte], |_| {});
            assert_eq!(frames.between(), at + 1 == bytes.len());
            assert_eq!(frames.inside(), (HEAD - 1..bytes.len() - 1).contains(&at));
        }
    }
}
