//! Reads numbers and magic bytes at positions of a file.

/// A file that is read at any position. Reads beyond its end return `None`.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

macro_rules! read {
    ($name:ident, $type:ty, $from:ident) => {
        pub(super) fn $name(self, at: usize) -> Option<$type> {
            self.array(at).map(<$type>::$from)
        }
    };
}

impl<'a> Bytes<'a> {
    read!(u16_le, u16, from_le_bytes);
    read!(u16_be, u16, from_be_bytes);
    read!(u32_le, u32, from_le_bytes);
    read!(u32_be, u32, from_be_bytes);
    read!(u64_le, u64, from_le_bytes);
    read!(u64_be, u64, from_be_bytes);
    read!(f64_be, f64, from_be_bytes);

    pub(super) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    /// Returns `len` bytes, or as many as there are.
    pub(super) fn slice_at_most(self, at: usize, len: usize) -> &'a [u8] {
        let start = at.min(self.0.len());
        &self.0[start..at.saturating_add(len).min(self.0.len())]
    }

    pub(super) fn has(self, at: usize, magic: &[u8]) -> bool {
        at.checked_add(magic.len()).and_then(|end| self.0.get(at..end)) == Some(magic)
    }
}
