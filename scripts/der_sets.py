"""Creates recordings with known turns from the voices in a folder that is laid out like PARITY_DATA.

Each set is a folder with an audio and an RTTM file for each recording. The same data and the same version of numpy give the
same files. The voices are five of LibriSpeech (`audio/librispeech`) and three of `audio/voices`. In a reference, speech is
where the source is less than 35 dB below its loudest tenth; pauses of up to 0.3 s are bridged.
"""

import numpy as np
import soundfile

RATE = 16_000
FRAME = 160


def speech(samples):
    """Returns the stretches of a source that contain speech, in samples."""
    n = len(samples) // FRAME
    level = 10 * np.log10(np.mean(samples[: n * FRAME].reshape(n, FRAME) ** 2, axis=1) + 1e-12)
    is_speech = level > np.percentile(level, 90) - 35
    stretches = []
    for frame in np.flatnonzero(is_speech):
        if stretches and frame - stretches[-1][1] <= 30:
            stretches[-1][1] = frame + 1
        else:
            stretches.append([frame, frame + 1])
    return [(a * FRAME, b * FRAME) for a, b in stretches if b - a >= 10]


class Mixture:
    """A recording that is being assembled."""

    def __init__(self, seconds):
        self.samples = np.zeros(int(seconds * RATE))
        self.turns = []

    def add(self, speaker, samples, at):
        """Mixes a source in from the sample `at` on, and drops the part beyond the end of the recording."""
        samples = samples[: max(0, len(self.samples) - at)]
        self.samples[at : at + len(samples)] += samples
        for a, b in speech(samples) if len(samples) > FRAME * 20 else []:
            self.turns.append((speaker, (at + a) / RATE, (at + b) / RATE))

    def write(self, folder, name, noise_db, random):
        folder.mkdir(parents=True, exist_ok=True)
        noise = random.standard_normal(len(self.samples))
        # Pink noise: each octave has the same power.
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        noise = np.fft.irfft(spectrum, len(noise))
        level = np.sqrt(np.mean(self.samples**2))
        samples = self.samples + noise / np.sqrt(np.mean(noise**2)) * level * 10 ** (-noise_db / 20)
        soundfile.write(folder / f"{name}.flac", samples / max(1.0, np.abs(samples).max() * 1.05), RATE)
        write_rttm(folder / f"{name}.rttm", name, self.turns)


def write_rttm(path, name, turns):
    lines = [f"SPEAKER {name} 1 {a:.3f} {b - a:.3f} <NA> <NA> {who} <NA> <NA>\n" for who, a, b in sorted(turns, key=lambda t: t[1])]
    path.write_text("".join(lines))


def read(path):
    samples, rate = soundfile.read(path)
    assert rate == RATE, path
    return samples


def voices(data):
    """Returns the sources of each voice, all at the same level."""
    found = {}
    for path in sorted((data / "audio/librispeech").glob("*/**/*.flac")):
        found.setdefault(path.relative_to(data / "audio/librispeech").parts[0], []).append(read(path))
    for path in sorted((data / "audio/voices").glob("*-[0-9].flac")):
        found.setdefault(path.stem.split("-")[0], []).append(read(path))
    return {who: [s / np.sqrt(np.mean(s**2)) * 0.06 for s in sources] for who, sources in found.items()}


def part(sources, seconds, random):
    """Returns `seconds` of a voice, from the start of a stretch of speech."""
    source = sources[random.integers(len(sources))]
    starts = [a for a, b in speech(source) if a + seconds * RATE < len(source)]
    at = starts[random.integers(len(starts))] if starts else 0
    return source[at : at + int(seconds * RATE)]


def conversation(all_voices, who, seconds, turn, overlap, random):
    """Creates a conversation whose speaker changes at each turn. The share `overlap` of turns begins before the previous ends."""
    mixture, at, last = Mixture(seconds), int(0.3 * RATE), None
    while at < len(mixture.samples) - RATE // 2:
        speaker = random.choice([other for other in who if other != last])
        samples = part(all_voices[speaker], random.uniform(*turn), random)
        mixture.add(speaker, samples, at)
        end = at + len(samples)
        at = end - int(random.uniform(0.3, 1.5) * RATE) if random.random() < overlap else end + int(random.uniform(0.05, 0.6) * RATE)
        at, last = max(at, 0), speaker
    return mixture


def make(data, target):
    """Creates all sets in the folder `target`."""
    random = np.random.default_rng(7)
    all_voices = voices(data)
    everybody = sorted(all_voices)
    for i, who in enumerate(everybody):
        mixture, at = Mixture(60), int(0.3 * RATE)
        for source in all_voices[who] * 4:
            mixture.add(who, source, at)
            at += len(source) + int(random.uniform(0.2, 1.2) * RATE)
        mixture.write(target / "one-speaker", f"one-{i}", 40, random)
    for i in range(8):
        who = list(random.choice(everybody, 3 + i % 3, replace=False))
        conversation(all_voices, who, 40, (1.0, 3.0), 0.1, random).write(target / "fast", f"fast-{i}", 30, random)
    for i in range(6):
        who = list(random.choice(everybody, 6, replace=False))
        conversation(all_voices, who, 22, (1.5, 3.5), 0.1, random).write(target / "six-in-22s", f"six-{i}", 30, random)
    for i in range(8):
        who = list(random.choice(everybody, 2 + i % 4, replace=False))
        mixture = conversation(all_voices, who, 75, (2.0, 8.0), 0.6, random)
        mixture.write(target / "overlap", f"overlap-{i}", 30 if i < 4 else 12, random)
    short, phone, long = target / "short", target / "telephone-band", target / "long"
    for folder in (short, phone, long):
        folder.mkdir(parents=True, exist_ok=True)
    conversations = sorted((data / "conversations").glob("*.flac"))
    for i in range(40):
        path = conversations[i % len(conversations)]
        samples, turns = read(path), annotation(path.with_suffix(".rttm"))
        seconds = random.uniform(2.5, 9.5)
        start = random.uniform(0, len(samples) / RATE - seconds)
        cropped = [(who, max(a - start, 0), min(b - start, seconds)) for who, a, b in turns if b > start and a < start + seconds]
        if cropped:
            soundfile.write(short / f"short-{i}.flac", samples[int(start * RATE) : int((start + seconds) * RATE)], RATE)
            write_rttm(short / f"short-{i}.rttm", f"short-{i}", cropped)
    for path in conversations:
        # The telephone band of 300 to 3,400 Hz at half the sample rate, in mu-law.
        samples = read(path)
        spectrum = np.fft.rfft(samples)
        hz = np.fft.rfftfreq(len(samples), 1 / RATE)
        spectrum[(hz > 3_400) | (hz < 300)] = 0
        narrow = np.fft.irfft(spectrum, len(samples))[::2]
        soundfile.write(phone / f"{path.stem}.wav", narrow, RATE // 2, subtype="ULAW")
        (phone / f"{path.stem}.rttm").write_text(path.with_suffix(".rttm").read_text())
    for i, n in enumerate((6, 12, 18)):
        order = [conversations[k % len(conversations)] for k in random.permutation(n)]
        samples, turns, at = [], [], 0.0
        for path in order:
            own = read(path)
            turns += [(who, at + a, at + b) for who, a, b in annotation(path.with_suffix(".rttm"))]
            samples.append(own)
            at += len(own) / RATE
        soundfile.write(long / f"long-{i}.flac", np.concatenate(samples), RATE)
        write_rttm(long / f"long-{i}.rttm", f"long-{i}", turns)


def annotation(path):
    fields = [line.split() for line in path.read_text().splitlines()]
    return [(f[7], float(f[3]), float(f[3]) + float(f[4])) for f in fields]

