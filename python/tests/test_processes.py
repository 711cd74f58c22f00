"""Loaded models in threads, forks and copies."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import numpy as np
import pytest
import voice_embedding
from conftest import voices

NAMES = ["alan-1", "beth-1", "cole-1", "alan-2"]

# The time limit of a process in seconds, on a loaded machine.
PATIENCE = 60


def embed_in_a_process(encoder: voice_embedding.VoiceEncoder, name: str) -> np.ndarray:
    """Embeds a voice on the calling thread and on separate threads."""
    (result,) = voice_embedding.embed_files([voices(name)], threads=2)
    embedding = encoder.embed_utterance(voice_embedding.preprocess_wav(voices(name)))
    # `embed_files` uses the default encoder of the machine.
    np.testing.assert_allclose(result.embedding, embedding, rtol=0, atol=1e-3)
    return embedding


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("program", [None, "ort"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_go_on_after_use(method: str, program: str) -> None:
    try:
        encoder = voice_embedding.VoiceEncoder(verbose=False, encoder=program)
    except RuntimeError as error:
        pytest.skip(str(error))
    expected = [embed_in_a_process(encoder, name) for name in NAMES]
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap_async(embed_in_a_process, [(encoder, name) for name in NAMES]).get(PATIENCE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_amid_files_ends() -> None:
    results = voice_embedding.embed_files([voices(name) for name in NAMES] * 50, threads=2)
    next(results)
    child = os.fork()
    if child == 0:
        # The results belong to the parent. Dropping them must not wait for the parent's threads.
        try:
            next(results)
        except RuntimeError as error:
            del results
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    killer = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    killer.start()
    _, status = os.waitpid(child, 0)
    killer.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(list(results)) == 199


def test_threads_share_an_encoder(encoder: voice_embedding.VoiceEncoder) -> None:
    wavs = [voice_embedding.preprocess_wav(voices(name)) for name in NAMES]
    expected = [encoder.embed_utterance(wav) for wav in wavs]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(encoder.embed_utterance, wavs * 25))
    np.testing.assert_array_equal(found, expected * 25)


def seconds_without_a_tick(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the longest time for which another thread could not run, and the duration of the work."""
    gaps, is_done = [], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not is_done.wait(0.001):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticker = threading.Thread(target=tick)
    ticker.start()
    begun = time.perf_counter()
    work()
    took = time.perf_counter() - begun
    is_done.set()
    ticker.join()
    return max(gaps), took


@pytest.mark.parametrize("name", ["embed", "diarize", "decode", "preprocess_wav", "embed_files", "close"])
def test_other_threads_run_meanwhile(name: str, tmp_path: pathlib.Path) -> None:
    wav = np.tile(voice_embedding.decode(voices("alan-1")).samples, 150)
    file = tmp_path / "long.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((wav * 32_767).astype("<i2").tobytes())
    voice_embedding.embed(voices("alan-1"))

    def close() -> None:
        results = voice_embedding.embed_files([voices("alan-1"), *[file] * 8], threads=1)
        next(results)
        results.close()

    works: dict[str, Callable[[], object]] = {
        "embed": lambda: voice_embedding.embed(file),
        "diarize": lambda: voice_embedding.diarize(file, threads=1),
        "decode": lambda: [voice_embedding.decode(file) for _ in range(20)],
        "preprocess_wav": lambda: [voice_embedding.preprocess_wav(str(file)) for _ in range(5)],
        "embed_files": lambda: list(voice_embedding.embed_files([file], threads=1)),
        "close": close,
    }
    longest, took = seconds_without_a_tick(works[name])
    # If the work held Python's lock throughout, the gap would last almost as long as the work.
    assert longest < max(0.5 * took, 0.2), (longest, took)


def test_what_is_left_is_not_computed() -> None:
    # A minute of speech takes long enough to distinguish one file from a hundred.
    wav = np.tile(voice_embedding.decode(voices("alan-1")).samples, 10)
    begun = time.perf_counter()
    voice_embedding.embed(wav, sample_rate=16_000)
    one = time.perf_counter() - begun
    results = voice_embedding.embed_files([voices("alan-1")] * 2_000, threads=1)
    next(results)
    begun = time.perf_counter()
    results.close()
    assert time.perf_counter() - begun < max(5 * one, 1.0)


def test_iterators_in_cycles_are_collected() -> None:
    class Job:
        def __init__(self) -> None:
            self.results = voice_embedding._core.embed_files(voice_embedding.SpeakerModel()._model, self.paths(), None, 2)

        def paths(self) -> Iterator[str]:
            while True:
                yield voices(self.name)

        name = "beth-2"

    n_before = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else None
    for _ in range(5):
        next(Job().results)
    gc.collect()
    if n_before is None:
        pytest.skip("threads can be counted in Linux")
    assert len(os.listdir("/proc/self/task")) <= n_before + 1


def test_files_are_interrupted() -> None:
    program = """if True:
        import sys, voice_embedding
        def paths():
            while True:
                sum(range(100_000))  # where an interrupt finds it, most likely
                yield sys.argv[1]
        for number, result in enumerate(voice_embedding.embed_files(paths())):
            if number == 0:
                print("begun", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, voices("alan-1")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in told


class Named(voice_embedding.VoiceEncoder):
    """Programs derive such classes from the original."""

    name = ""


def test_models_are_pickled_as_their_arguments() -> None:
    model = pickle.loads(pickle.dumps(voice_embedding.SpeakerModel(min_speech_seconds=30)))
    with pytest.raises(voice_embedding.AudioTooShort):
        model.embed(voices("alan-1"))
    encoder = Named(verbose=False)
    encoder.name = "mine"
    encoder = pickle.loads(pickle.dumps(encoder))
    assert (type(encoder), encoder.name) == (Named, "mine")
    assert len(pickle.dumps(encoder)) < 1_000
    assert encoder.embed_utterance(voice_embedding.preprocess_wav(voices("beth-1"))).shape == (256,)


def test_importing_takes_no_client_along() -> None:
    program = "import sys; from voice_embedding import *; assert not {'httpx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=pathlib.Path(voices("alan-1")).parent)
