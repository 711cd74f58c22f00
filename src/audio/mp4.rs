//! Where the audio of an MP4 file begins: symphonia does not expose edit lists.
//!
//! Source: ISO/IEC 14496-12, sections 8.4.2 (`mdhd`), 8.4.3 (`hdlr`) and 8.6.6 (`elst`).

/// Where the audible part of the first audio track begins, in frames at the given rate: encoders put silence before it. Zero
/// without an edit list.
pub(super) fn audio_start_frames(file: &[u8], sample_rate_hz: u32) -> u64 {
    media_start(file)
        .map_or(0, |(start, ticks_a_second)| start.saturating_mul(sample_rate_hz.into()) / ticks_a_second)
}

/// The start of the audio in ticks, and the ticks of a second.
fn media_start(file: &[u8]) -> Option<(u64, u64)> {
    let track = children(child(file, *b"moov")?)
        .filter(|(name, _)| name == b"trak")
        .map(|(_, track)| track)
        .find(|track| is_audio(track).unwrap_or(false))?;
    let header = child(child(track, *b"mdia")?, *b"mdhd")?;
    let ticks_a_second = if *header.first()? == 0 { u32_at(header, 12)? } else { u32_at(header, 20)? };
    let edits = child(child(track, *b"edts")?, *b"elst")?;
    let start = first_media_time(edits)?;
    (ticks_a_second > 0).then_some((start, ticks_a_second.into()))
}

fn is_audio(track: &[u8]) -> Option<bool> {
    Some(child(child(track, *b"mdia")?, *b"hdlr")?.get(8..12)? == b"soun")
}

/// The first edit that is not a pause. Version 0 has times of 4 bytes, version 1 of 8; a rate follows.
fn first_media_time(edits: &[u8]) -> Option<u64> {
    let is_short = *edits.first()? == 0;
    let entries = edits.get(8..)?.chunks_exact(if is_short { 12 } else { 20 });
    let time = |entry: &[u8]| {
        if is_short {
            u32_at(entry, 4).map(|ticks| i64::from(ticks.cast_signed()))
        } else {
            entry.get(8..16).and_then(|b| b.try_into().ok()).map(i64::from_be_bytes)
        }
    };
    entries.filter_map(time).find_map(|ticks| u64::try_from(ticks).ok())
}

/// The content of the first box of a name.
fn child(parent: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    children(parent).find(|(found, _)| *found == name).map(|(_, content)| content)
}

/// The boxes in a box, or in the file; the last one may be cut.
fn children(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let name = rest.get(4..8)?.try_into().ok()?;
        let (header_len, len) = match u32_at(rest, 0)? {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?)).ok()?),
            len => (8, len as usize),
        };
        let end = len.min(rest.len());
        let content = rest.get(header_len..end)?;
        rest = &rest[end..];
        Some((name, content))
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), &name, content].concat()
    }

    fn file(edits: &[u8]) -> Vec<u8> {
        let video = atom(*b"trak", &atom(*b"mdia", &atom(*b"hdlr", b"\0\0\0\0\0\0\0\0vide")));
        let header = [&[0; 12][..], &24_000_u32.to_be_bytes()].concat();
        let media = [atom(*b"mdhd", &header), atom(*b"hdlr", b"\0\0\0\0\0\0\0\0soun")].concat();
        let audio = [atom(*b"edts", &atom(*b"elst", edits)), atom(*b"mdia", &media)].concat();
        [atom(*b"ftyp", b"M4A "), atom(*b"moov", &[video, atom(*b"trak", &audio)].concat())].concat()
    }

    #[test]
    fn the_start_is_that_of_the_first_edit_of_the_audio() {
        let short = |time: i32| [&[0, 0, 0, 9][..], &time.to_be_bytes(), &[0, 1, 0, 0]].concat();
        let long = [&[1, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &1_056_i64.to_be_bytes(), &[0, 1, 0, 0]].concat();
        let head = [0, 0, 0, 0, 0, 0, 0, 2];
        let cases = [
            ("short", [&head[..], &short(1_056)].concat(), 2_112),
            ("behind a pause", [&head[..], &short(-1), &short(600)].concat(), 1_200),
            ("long", long, 2_112),
            ("none", head.to_vec(), 0),
            ("cut", vec![0, 0], 0),
        ];
        for (name, edits, frames) in cases {
            assert_eq!(audio_start_frames(&file(&edits), 48_000), frames, "{name}");
        }
        assert_eq!(audio_start_frames(b"\0\0\0\x08ftyp", 48_000), 0);
    }
}
