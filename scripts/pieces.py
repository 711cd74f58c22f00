"""Recordings for measurements: pieces of the voices in the fixtures, each different."""

import pathlib
import wave

import numpy as np
import voice_embedding

FIXTURES = pathlib.Path("tests/fixtures/audio")


def write_pieces(folder: pathlib.Path, n_files: int, seconds: float) -> list[pathlib.Path]:
    """Writes 16-bit WAV files at 16 kHz. A piece that is longer than its voice continues from the beginning of the voice."""
    sources = [voice_embedding.decode(path).samples for path in sorted(FIXTURES.glob("*.wav"))]
    folder.mkdir(parents=True)
    files = [folder / f"{number:04}.wav" for number in range(n_files)]
    for number, file in enumerate(files):
        samples = np.resize(np.roll(sources[number % len(sources)], -571 * number), int(seconds * 16_000))
        with wave.open(str(file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(16_000)
            out.writeframes((samples * 32_767).astype("<i2").tobytes())
    return files
