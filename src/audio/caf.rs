//! The length of a CAF file's audio, corrected.
//!
//! Source: Apple's Core Audio Format Specification 1.0, "Audio Data Chunk".

use std::borrow::Cow;

/// The file with the length of the audio that is present, and whether it announced more. Recorders that were killed leave less
/// than announced, or -1 for "to the end"; symphonia opens neither.
pub(super) fn with_true_length(file: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let Some((length_at, announced)) = find_data_length(file) else { return (file.into(), false) };
    let present = (file.len() - length_at - 8) as i64;
    if (0..=present).contains(&announced) {
        return (file.into(), false);
    }
    let mut file = file.to_vec();
    file[length_at..length_at + 8].copy_from_slice(&present.to_be_bytes());
    (file.into(), announced > present)
}

/// The offset of the `data` chunk's length, and the length. Chunks follow a header of 8 bytes; each has a name of 4
/// bytes and a length of 8.
fn find_data_length(file: &[u8]) -> Option<(usize, i64)> {
    let mut at = 8_usize;
    loop {
        let name = file.get(at..at.checked_add(4)?)?;
        let length = i64::from_be_bytes(file.get(at + 4..at + 12)?.try_into().ok()?);
        if name == b"data" {
            return Some((at + 4, length));
        }
        at = at.checked_add(12)?.checked_add(usize::try_from(length).ok()?)?;
    }
}
