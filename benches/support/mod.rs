//! Code that the measurements share.

use std::io::Cursor;

use anyhow::Result;

/// Returns a synthetic voice of this length as a WAV file of 16 kHz and 16 bits.
pub(crate) fn clip(seconds: f64) -> Result<Vec<u8>> {
    let mut reader = hound::WavReader::open("tests/fixtures/audio/alan-1.wav")?;
    let voice = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, reader.spec())?;
    // The file begins with a pause.
    for sample in voice.iter().cycle().skip(8_000).take((seconds * 16_000.0) as usize) {
        writer.write_sample(*sample)?;
    }
    writer.finalize()?;
    Ok(bytes.into_inner())
}
