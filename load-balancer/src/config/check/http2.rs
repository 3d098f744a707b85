//! `[http2]` and `pool.protocol`.

use toml::Value;

use super::Checker;
use crate::config::{Http2, Spoken, raw};

impl Checker {
    pub(super) fn http2(&mut self, raw: &raw::Http2) -> Http2 {
        self.unknown("http2", &raw.unknown, raw::Http2::KEYS);
        Http2 {
            enabled: self.flag("http2.enabled", raw.enabled.as_ref(), true),
            streams: self.int("http2.streams", raw.streams.as_ref(), 100, 1, 10_000) as u32,
            resets: self.int("http2.resets", raw.resets.as_ref(), 100, 1, 1_000_000) as u32,
            control_frames: self.int("http2.control_frames", raw.control_frames.as_ref(), 200, 1, 1_000_000)
                as u32,
        }
    }

    pub(super) fn spoken(&mut self, value: Option<&Value>) -> Spoken {
        match self.one_of("pool.protocol", value, &["http1", "http2"]) {
            1 => Spoken::Http2,
            _ => Spoken::Http1,
        }
    }
}
