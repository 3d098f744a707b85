//! HTTP/2 as the listener counts it: the same frames wherever the bytes are cut, those that a second reading sees, and
//! allowances that a client cannot have more of than there is.
//!
//! What the frames say is read by hyper's h2 behind it; our part of that way, from the socket to a request, needs a worker with
//! sockets, and has the hostile table of HTTP/2 (`tests/it/hostile_http2.rs`).

use lb_core::Tick;
use load_balancer::listener::{Calm, Flood, Frame, FrameKind, Frames};

use super::input::byte;

/// Bytes of a frame's head, and with the error code of RST_STREAM.
const HEAD: usize = 9;
const WITH_CODE: usize = 13;
/// What a client sends first.
const PREFACE: usize = 24;
/// Allowed in a second, and at once.
const RESETS: (u32, i64) = (2, 8);
const CONTROL: (u32, i64) = (3, 15);

/// The input's first byte says whether a preface comes first and whether we send the even streams' frames, the next two where
/// the bytes are cut.
pub fn run(data: &[u8]) {
    let (choice, rest) = byte(data);
    let (first, rest) = byte(rest);
    let (second, bytes) = byte(rest);
    let mut cuts = [first, second].map(|cut| bytes.len() * usize::from(cut) / 256);
    cuts.sort_unstable();
    let preface = choice & 1 == 1;
    let begin = || if preface { Frames::after_preface() } else { Frames::default() };

    let (told, end) = read(bytes, if preface { PREFACE } else { 0 });
    let pieces = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    for pieces in [&[bytes][..], &pieces, &single] {
        let (mut frames, mut seen) = (begin(), Vec::new());
        pieces.iter().for_each(|piece| frames.pass(piece, |frame| seen.push(frame)));
        assert_eq!(seen, told, "cut at {cuts:?}");
        assert_eq!((frames.between(), frames.inside()), (end == bytes.len(), end > bytes.len()));
    }
    allowed(&told, choice & 2 == 2);
}

/// The frames in `bytes` from `at` on, and where the next one begins.
fn read(bytes: &[u8], mut at: usize) -> (Vec<Frame>, usize) {
    let mut frames = Vec::new();
    while let Some(&[a, b, c, kind, flags, d, e, f, g]) =
        bytes.get(at..).and_then(<[u8]>::first_chunk::<HEAD>)
    {
        let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
        let length = number([0, a, b, c]);
        let mut code = 0;
        if kind == 3 && length >= 4 {
            let Some(with_code) = bytes[at..].first_chunk::<WITH_CODE>() else { break };
            let [.., h, i, j, k] = *with_code;
            code = number([h, i, j, k]);
        }
        let kind = match kind {
            0 => FrameKind::Data,
            1 => FrameKind::Headers,
            3 => FrameKind::Reset,
            8 => FrameKind::Window,
            9 => FrameKind::Continuation,
            _ => FrameKind::Other,
        };
        let last = matches!(kind, FrameKind::Data | FrameKind::Headers) && flags & 1 == 1;
        let whole_head = matches!(kind, FrameKind::Headers | FrameKind::Continuation) && flags & 4 == 4;
        let stream = number([d, e, f, g]) & (u32::MAX >> 1);
        frames.push(Frame { kind, stream, length, last, whole_head, code });
        at += HEAD + length as usize;
    }
    (frames, at)
}

/// Frames at one moment, in which nothing refills: held against an account in whole numbers.
fn allowed(frames: &[Frame], ours: bool) {
    let mut calm = Calm::new(RESETS.0, CONTROL.0, Tick::ZERO);
    let (mut resets, mut control) = (RESETS.1, CONTROL.1);
    for &frame in frames {
        let sent = ours && frame.stream % 2 == 0;
        let verdict = if sent { calm.sent(frame) } else { calm.received(frame) };
        let says_something = frame.kind == FrameKind::Data && (frame.length > 0 || frame.last);
        let expected = match (sent, frame.kind) {
            (false, FrameKind::Reset) => spend(&mut resets, Flood::Resets),
            (true, FrameKind::Reset) if frame.code != 0 => spend(&mut resets, Flood::Resets),
            (true, FrameKind::Data) => {
                control = (control + 1 + i64::from(frame.length) / 512).min(CONTROL.1);
                Ok(())
            }
            (false, FrameKind::Headers) => {
                control = (control + 2).min(CONTROL.1);
                Ok(())
            }
            (true, _) => Ok(()),
            (false, _) if says_something => Ok(()),
            (false, _) => spend(&mut control, Flood::Control),
        };
        assert_eq!(verdict, expected, "{frame:?}, sent by us: {sent}");
    }
}

fn spend(account: &mut i64, flood: Flood) -> Result<(), Flood> {
    *account -= 1;
    if *account < 0 { Err(flood) } else { Ok(()) }
}
