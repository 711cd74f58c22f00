"""Tests of the clients against a running service."""

from __future__ import annotations

import asyncio
import inspect
import json
import pathlib
import threading
import wave
from collections.abc import Awaitable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Callable, Union

import numpy as np
import pytest
import voice_embedding
from conftest import KEY, voices
from voice_embedding import errors

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

from voice_embedding.client import AsyncClient, Client, EnrolledSpeaker  # noqa: E402


class InLoop:
    """An asynchronous client with synchronous methods."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(url, key, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Awaitable[Any]] = getattr(self._client, name)
        return lambda *given, **options: self._loop.run_until_complete(method(*given, **options))

    def __enter__(self) -> InLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.close()


AnyClient = Union[Client, InLoop]


@pytest.fixture(params=[Client, InLoop], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, service: str) -> Iterator[AnyClient]:
    with request.param(service, KEY) as client:
        yield client


def test_embeddings_are_the_packages_own(client: AnyClient) -> None:
    path = pathlib.Path(voices("alan-1"))
    here = voice_embedding.embed(path)
    for recording in (path, str(path), path.read_bytes()):
        there = client.embed(recording)
        np.testing.assert_allclose(there.embedding, here.embedding, rtol=0, atol=1e-6)
        assert there.model == here.model
        assert there.audio.level_dbfs == pytest.approx(here.audio.level_dbfs, abs=0.01)
        assert (there.audio.windows, there.audio.warnings) == (here.audio.windows, here.audio.warnings)
    assert client.embed(path, model="resemblyzer", channel=0).model == here.model


def test_voices_are_verified(client: AnyClient) -> None:
    here = voice_embedding.verify(voices("alan-1"), voices("alan-2"))
    alan = voice_embedding.embed(voices("alan-2"))
    for other in (voices("alan-2"), alan, client.embed(voices("alan-2"))):
        there = client.verify(voices("alan-1"), other)
        assert there["similarity"] == pytest.approx(here.similarity, abs=1e-6)
        assert there["false_accept_rate"] == pytest.approx(here.false_accept_rate, rel=1e-3)
    assert client.verify(voices("alan-1"), alan.embedding)["similarity"] == pytest.approx(here.similarity, abs=1e-6)
    assert client.verify(voices("alan-1"), alan, threshold=0.99)["is_same_speaker"] is False


def test_speakers_are_enrolled_identified_and_deleted(client: AnyClient) -> None:
    for name in ("alan", "beth"):
        made = client.create_speaker(id=name, name=name.title(), collection="family", metadata={"of": "tests"})
        assert (made["id"], made["metadata"]) == (name, {"of": "tests"})
        assert client.create_speaker(id=name, name=name.title(), collection="family", metadata={"of": "tests"}) == made
        enrolled = client.enrol(name, voices(f"{name}-1"), collection="family")
        assert enrolled["speech_seconds"] > 3
    found = client.identify(voices("alan-2"), collection="family", top=1)
    assert (found["speaker"], found["reason"], len(found["candidates"])) == ("alan", "match", 1)
    assert client.identify(voices("cole-1"), collection="family", threshold=0.95)["speaker"] is None
    same = client.verify(voices("beth-2"), EnrolledSpeaker("beth", "family"))
    assert same["is_same_speaker"]
    with pytest.raises(errors.NotThisSpeaker) as refused:
        client.enrol("alan", voices("beth-2"), collection="family")
    assert (refused.value.status, bool(refused.value.request_id)) == (409, True)
    assert client.enrol("alan", voices("beth-2"), collection="family", force=True)
    turns = client.diarize(voices("beth-2"), collection="family", num_speakers=1)
    assert len(turns["speakers"]) == 1 and turns["segments"]
    # A speaker in a diarization can be used as a voice.
    assert client.verify(turns["speakers"][0], voices("beth-2"), threshold=np.float32(0.5))["is_same_speaker"]
    for name in ("alan", "beth"):
        assert client.delete_speaker(name, collection="family") is None
    assert client.identify(voices("alan-2"), collection="family")["reason"] == "empty_collection"
    with pytest.raises(errors.SpeakerNotFound):
        client.enrol("alan", voices("alan-1"), collection="family")


def test_a_transcript_comes_back_with_speakers(client: AnyClient) -> None:
    said = [{"start": 0.5, "end": 5.0, "text": "hello"}]
    answer = client.diarize(voices("alan-1"), transcript=said)
    assert answer["transcript"][0]["speaker"] == "S1"


def test_a_request_brings_speakers(client: AnyClient) -> None:
    said = [{"start": 0.5, "end": 5.0, "text": "hello"}]
    known = {"Beth Lee": voices("beth-2"), "Alan": voices("alan-2")}
    answer = client.diarize(voices("alan-1"), known_speakers=known, transcript=said, response_format="diarized_json")
    assert answer["text"] == "Alan: hello"


def test_refusals_are_exceptions(client: AnyClient, tmp_path: pathlib.Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no recording")
    with pytest.raises(errors.UnsupportedAudio) as refused:
        client.embed(text)
    assert refused.value.status == 415
    with pytest.raises(errors.ValidationError, match="threshold"):
        client.verify(voices("alan-1"), voices("alan-2"), threshold=3)
    with pytest.raises(errors.VoiceEmbeddingError) as unknown:
        client.embed(voices("alan-1"), model="pyannote")
    assert (type(unknown.value), unknown.value.code) == (errors.VoiceEmbeddingError, "model_not_found")
    with pytest.raises(FileNotFoundError):
        client.embed(tmp_path / "missing.wav")
    with pytest.raises(TypeError, match="not ndarray"):
        client.embed(np.ones(256))
    for wrong in (np.ones((2, 256)), 3.0, open):
        with pytest.raises(TypeError, match="a voice is"):
            client.verify(wrong, wrong)
    assert client.embed(bytearray(pathlib.Path(voices("alan-1")).read_bytes()), model=None).model
    with pytest.raises(errors.VoiceEmbeddingError):
        client.enrol("../../health", voices("alan-1"))


@pytest.mark.parametrize("kind", [Client, InLoop], ids=["sync", "async"])
def test_a_wrong_key_is_told(kind: Callable[..., AnyClient], service: str) -> None:
    with kind(service, "wrong", retries=0) as client, pytest.raises(errors.InvalidApiKey) as refused:
        client.embed(voices("alan-1"))
    assert refused.value.status == 401


class Refusing(BaseHTTPRequestHandler):
    """A server that follows a plan for its responses and counts the requests."""

    plan: list[Any] = []
    n_requests = 0

    def do_POST(self) -> None:
        type(self).n_requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        step = self.plan.pop(0) if self.plan else 200
        if step == "hang up":
            self.connection.close()
            return
        code = {"timeout": "timeout", "restarting": "store_unavailable"}.get(step, "overloaded")
        body = b"<html>Bad gateway" if step == 502 else json.dumps({"detail": "busy", "code": code}).encode()
        status = 503 if isinstance(step, str) else step
        self.send_response(status)
        if status in (429, 503):
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("kind", [Client, InLoop], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("plan", "call", "outcome", "n_requests"),
    [
        ([503, 503, 200], "verify", "answer", 3),
        ([503, 503, 503, 200], "verify", errors.Overloaded, 3),
        ([429, 200], "create", "answer", 2),
        ([503, 200], "delete", "answer", 2),
        (["timeout", 200], "create", "timeout", 1),
        (["timeout", 200], "verify", "timeout", 1),
        (["restarting", 200], "verify", "answer", 2),
        (["hang up", 200], "verify", "answer", 2),
        (["hang up", 200], "delete", httpx.TransportError, 1),
        (["hang up", 200], "create", httpx.TransportError, 1),
        ([502], "verify", "http_502", 1),
    ],
)  # fmt: skip
def test_what_may_be_repeated_is(
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[..., AnyClient],
    plan: list[Any],
    call: str,
    outcome: Any,
    n_requests: int,
) -> None:
    monkeypatch.setattr("voice_embedding.client.RETRY_AFTER_SECONDS", 0.0)
    handler = type("Planned", (Refusing,), {"plan": list(plan), "do_DELETE": Refusing.do_POST})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    calls = {
        "verify": lambda client: client.verify(np.ones(256), np.ones(256)),
        "delete": lambda client: client.delete_speaker("anna"),
        "create": lambda client: client.create_speaker(name="Anna"),
    }
    try:
        with kind(f"http://127.0.0.1:{server.server_port}/prefix", "key") as client:
            if outcome == "answer":
                calls[call](client)
            elif isinstance(outcome, str):
                with pytest.raises(errors.VoiceEmbeddingError, match="Bad gateway|busy") as told:
                    calls[call](client)
                assert told.value.code == outcome
            else:
                with pytest.raises(outcome):
                    calls[call](client)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert handler.n_requests == n_requests


def test_both_clients_have_the_same_methods() -> None:
    def methods(of: type) -> dict[str, str]:
        public = inspect.getmembers(of, inspect.isfunction)
        # The asynchronous client also accepts asynchronous iterators.
        return {
            name: str(inspect.signature(method).replace(return_annotation=None)).replace(
                "Union[AsyncIterable[Sent], Iterable[Sent]]", "Iterable[Sent]"
            )
            for name, method in public
            if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


def conversation() -> bytes:
    """Returns 16-bit samples of two voices that speak in turns."""
    parts = []
    for name in ("alan-1", "beth-1", "alan-2"):
        with wave.open(voices(name)) as file:
            parts.append(file.readframes(file.getnframes()) + bytes(25_600))
    return b"".join(parts)


def pieces(samples: bytes) -> list[bytes]:
    return [samples[at : at + 6_400] for at in range(0, len(samples), 6_400)]


class TestLive:
    """Live sessions with the package websockets from PyPI."""

    @pytest.fixture(autouse=True)
    def _websockets(self) -> None:
        pytest.importorskip("websockets", reason="websockets is not installed")

    def session(self, kind: type[AnyClient], service: str, samples: Any, **options: Any) -> list[dict[str, Any]]:
        """Returns the events of a session with either client."""
        if kind is Client:
            with Client(service, KEY) as client:
                return list(client.live(samples, **options))

        async def listen() -> list[dict[str, Any]]:
            async def come() -> Any:
                for sample in samples:
                    yield sample
                    await asyncio.sleep(0)

            async with AsyncClient(service, KEY) as client:
                return [event async for event in client.live(come(), **options)]

        return asyncio.run(listen())

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_a_session_ends_with_what_diarize_answers(self, kind: Any, service: str, tmp_path: pathlib.Path) -> None:
        samples = conversation()
        events = self.session(kind, service, [*pieces(samples), {"type": "flush"}])
        kinds = [event["type"] for event in events]
        assert (kinds[0], kinds[-1]) == ("ready", "final")
        assert {"turn", "speech", "flushed"} <= set(kinds)
        with wave.open(str(tmp_path / "call.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples)
        with Client(service, KEY) as client:
            of_file = client.diarize(tmp_path / "call.wav")
        for ours, theirs in zip(events[-1]["segments"], of_file["segments"]):
            assert (ours["label"], ours["start"], ours["end"]) == (theirs["label"], theirs["start"], theirs["end"])
        assert len(events[-1]["segments"]) == len(of_file["segments"]) > 2

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_arrays_are_samples_too(self, kind: Any, service: str) -> None:
        whole = np.frombuffer(conversation(), "<i2")
        labels = []
        for samples, options in (
            (whole, {}),
            (whole.astype(np.float32) / 32_767, {}),
            (whole, {"encoding": "f32le"}),
            (whole.astype(np.float32) / 32_768, {"encoding": "f32le", "partial_seconds": 2}),
        ):
            final = self.session(kind, service, np.array_split(samples, 40), **options)[-1]
            labels.append([segment["label"] for segment in final["segments"]])
        assert labels[0] and all(other == labels[0] for other in labels)

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_refusals_and_errors_are_raised(self, kind: Any, service: str) -> None:
        with pytest.raises(errors.ValidationError, match="8000"):
            self.session(kind, service, [], sample_rate=1)
        with pytest.raises(errors.CorruptAudio):
            self.session(kind, service, [pathlib.Path(voices("alan-1")).read_bytes()])

        def broken() -> Iterator[bytes]:
            yield b"\0" * 6_400
            raise RuntimeError("the microphone is gone")

        with pytest.raises(RuntimeError, match="the microphone is gone"):
            self.session(kind, service, broken())
        with pytest.raises(errors.InvalidApiKey), Client(service, "wrong") as client:
            next(client.live([]))

    def test_a_session_that_nobody_listens_to_is_closed(self, service: str) -> None:
        with Client(service, KEY) as client:
            session = client.live(pieces(conversation() * 20))
            assert next(session)["type"] == "ready"
            session.close()  # type: ignore[attr-defined]
