"""Computes the direction by which the Python package detects waveforms that are passed as 16 kHz but have another sample rate.

Usage: misread_rate.py PARITY_DATA. The script resamples recordings from 16 kHz to 8, 22.05, 32, 44.1 and 48 kHz and embeds
them as if they still had 16 kHz. The direction leads from the mean embedding of correct recordings to that of recordings at
44.1 and 48 kHz. The script prints where the recordings of each rate lie along the direction; for each speaker, it computes
the direction without that speaker. Needs the package (`make python`). Writes python/voice_embedding/_rate.npy.
"""

import pathlib
import sys
import warnings

import numpy as np
import voice_embedding

SECONDS = 15
FAR_HZ = (44_100, 48_000)
RATES_HZ = (8_000, 16_000, 22_050, 32_000, *FAR_HZ)


def resampled(wav: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resamples a waveform through its spectrum. The number of samples must be a multiple of 160."""
    spectrum = np.fft.rfft(wav)
    n_samples = len(wav) * rate_hz // 16_000
    wanted = np.zeros(n_samples // 2 + 1, complex)
    n_kept = min(len(wanted), len(spectrum))
    wanted[:n_kept] = spectrum[:n_kept]
    return (np.fft.irfft(wanted, n_samples) * rate_hz / 16_000).astype(np.float32)


def embeddings(encoder: voice_embedding.VoiceEncoder, file: pathlib.Path) -> dict[int, np.ndarray]:
    samples = voice_embedding.decode(file).samples[: SECONDS * 16_000]
    samples = samples[: len(samples) // 160 * 160]
    found = {}
    for rate_hz in RATES_HZ:
        # Stands for telephone speech, which has lost its high frequencies but is correctly passed at 16 kHz.
        wav = resampled(resampled(samples, 8_000), 16_000) if rate_hz == 8_000 else resampled(samples, rate_hz)
        speech = voice_embedding.preprocess_wav(wav)
        if len(speech) >= 16_000:
            found[rate_hz] = encoder.embed_utterance(speech)
    return found


def direction(by_rate: list[dict[int, np.ndarray]]) -> np.ndarray:
    def mean(rates_hz: tuple[int, ...]) -> np.ndarray:
        sum_ = np.sum([found[rate] for found in by_rate for rate in rates_hz if rate in found], axis=0)
        return sum_ / np.linalg.norm(sum_)

    return (mean(FAR_HZ) - mean((16_000,))).astype(np.float32)


def main() -> None:
    warnings.simplefilter("ignore", voice_embedding.SampleRateWarning)
    encoder = voice_embedding.VoiceEncoder(verbose=False)
    root = pathlib.Path(sys.argv[1])
    files = sorted((root / "audio/librispeech").rglob("*.wav")) + sorted((root / "audio/librispeech").rglob("*.flac"))
    files += sorted((root / "conversations").glob("*.flac"))
    by_file = {file: embeddings(encoder, file) for file in files}

    def speaker(file: pathlib.Path) -> str:
        return file.parent.name if "librispeech" in file.parts else file.stem

    along: dict[int, list[float]] = {rate_hz: [] for rate_hz in RATES_HZ}
    for file, found in by_file.items():
        without = direction([other for f, other in by_file.items() if speaker(f) != speaker(file)])
        for rate_hz, embedding in found.items():
            along[rate_hz].append(float(embedding @ without))
    for rate_hz, values in along.items():
        print(f"{rate_hz:6} Hz: {len(values)} recordings, {min(values):.3f} to {max(values):.3f}")
    np.save("python/voice_embedding/_rate.npy", direction(list(by_file.values())))


main()
