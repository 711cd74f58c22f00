"""Threads, forks and copies of what is loaded."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import voice_embedding
from conftest import voices

NAMES = ["alan-1", "beth-1", "cole-1", "alan-2"]

# Seconds that a process may take, on a loaded machine.
PATIENCE = 60


def embed_in_a_process(encoder: voice_embedding.VoiceEncoder, name: str) -> np.ndarray:
    """Both ways: on the calling thread, and on threads of its own."""
    (result,) = voice_embedding.embed_files([voices(name)], threads=2)
    embedding = encoder.embed_utterance(voice_embedding.preprocess_wav(voices(name)))
    # The files' encoder is the machine's own choice.
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
        # What was begun belongs to the parent; dropping it must not wait for its threads.
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


def test_other_threads_run_meanwhile() -> None:
    ticks = 0
    is_done = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not is_done.wait(0.001):
            ticks += 1

    counter = threading.Thread(target=count)
    counter.start()
    wav = np.tile(voice_embedding.decode(voices("alan-1")).samples, 100)
    voice_embedding.embed(wav, sample_rate=16_000)
    voice_embedding.diarize(wav, sample_rate=16_000, threads=1)
    is_done.set()
    counter.join()
    # With Python's lock held throughout, it would be a handful.
    assert ticks > 20


def test_files_are_interrupted() -> None:
    program = """if True:
        import itertools, sys, voice_embedding
        for number, result in enumerate(voice_embedding.embed_files(itertools.repeat(sys.argv[1]))):
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


def test_models_are_pickled_as_their_arguments() -> None:
    model = pickle.loads(pickle.dumps(voice_embedding.SpeakerModel(min_speech_seconds=30)))
    with pytest.raises(voice_embedding.AudioTooShort):
        model.embed(voices("alan-1"))
    encoder = pickle.loads(pickle.dumps(voice_embedding.VoiceEncoder(verbose=False)))
    assert len(pickle.dumps(encoder)) < 1_000
    assert encoder.embed_utterance(voice_embedding.preprocess_wav(voices("beth-1"))).shape == (256,)


def test_importing_takes_no_client_along() -> None:
    program = "import sys, voice_embedding; assert 'httpx' not in sys.modules and 'onnxruntime' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=pathlib.Path(voices("alan-1")).parent)
