//! Sixteen numbers of one kind, as they lie in memory.
//!
//! Gathering is bound by the processor's loads and stores (four a cycle), not by its arithmetic, so two numbers are written
//! by one store: a tenth of a pick. Bytes, because a word seen as two numbers would be unsafe code; they compile to plain
//! vector loads.

use crate::view::SCAN_CHUNK;

/// Bytes of a number.
const WIDTH: usize = 4;

/// One cache line of sixteen numbers, each an integer or a float: whoever reads them knows which.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Row([u8; SCAN_CHUNK * WIDTH]);

impl Row {
    /// Sixteen times the same bits.
    pub(super) const fn of(bits: u32) -> Self {
        let (number, mut row, mut at) = (bits.to_le_bytes(), [0; SCAN_CHUNK * WIDTH], 0);
        while at < row.len() {
            row[at] = number[at % WIDTH];
            at += 1;
        }
        Row(row)
    }

    /// The integer at `at`.
    #[inline]
    pub(super) fn int(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0.as_chunks().0[at])
    }

    /// The float at `at`.
    #[inline]
    pub(super) fn float(&self, at: usize) -> f32 {
        f32::from_bits(self.int(at))
    }

    /// Writes the bits of one number.
    #[inline]
    pub(super) fn set(&mut self, at: usize, bits: u32) {
        self.0.as_chunks_mut().0[at] = bits.to_le_bytes();
    }

    /// Writes those of the numbers at twice `pair` and after it.
    #[inline]
    pub(super) fn set_pair(&mut self, pair: usize, first: u32, second: u32) {
        self.0.as_chunks_mut().0[pair] = (u64::from(first) | u64::from(second) << 32).to_le_bytes();
    }
}
