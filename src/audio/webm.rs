//! Whether a WebM (Matroska) file is all there.
//!
//! Source: RFC 8794, sections 4 (variable-size integers) and 6.2 (unknown lengths).

/// What every file begins with.
pub(super) const EBML_ID: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT_ID: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// Whether the file ends before the length that its segment announces. Browsers record without one: such files are never cut.
pub(super) fn is_cut(file: &[u8]) -> bool {
    missing_bytes(file).is_some_and(|missing| missing > 0)
}

fn missing_bytes(file: &[u8]) -> Option<u64> {
    let (header_len, after_header) = length(file.strip_prefix(&EBML_ID)?)?;
    let segment = after_header.get(usize::try_from(header_len?).ok()?..)?;
    let (segment_len, content) = length(segment.strip_prefix(&SEGMENT_ID)?)?;
    Some(segment_len?.saturating_sub(content.len() as u64))
}

/// Reads a length of 1 to 8 bytes and what follows it; all ones mean "unknown".
fn length(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let n_bytes = bytes.first()?.leading_zeros() as usize + 1;
    let (encoded, rest) = bytes.split_at_checked(n_bytes)?;
    let value = encoded.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let all_ones = 1_u64.checked_shl(7 * n_bytes as u32)? - 1;
    let value = value & all_ones;
    Some(((n_bytes <= 8 && value != all_ones).then_some(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_if_it_is_shorter_than_it_says() {
        let file =
            |segment_len: &[u8]| [&EBML_ID[..], &[0x81, 7], &SEGMENT_ID, segment_len, b"12345"].concat();
        let cases: [(&str, &[u8], bool); 5] = [
            ("one byte", &[0x85], false),
            ("one byte more", &[0x86], true),
            ("two bytes", &[0x40, 6], true),
            ("unknown in one byte", &[0xff], false),
            ("unknown in eight", &[1, 255, 255, 255, 255, 255, 255, 255], false),
        ];
        for (name, segment_len, cut) in cases {
            assert_eq!(is_cut(&file(segment_len)), cut, "{name}");
        }
        assert!(!is_cut(&EBML_ID) && !is_cut(&[]));
    }
}
