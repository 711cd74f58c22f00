"""Clients for a running service. They need httpx (``pip install voice-embedding[client]``).

Options have the same names as in the service. Methods that do not return an embedding return the service's JSON.
docs/api.md describes both.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, Union
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from . import _live
from ._live import LiveOptions, Sent
from .errors import VoiceEmbeddingError, from_code
from .models import AudioReport, Voice

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["AsyncClient", "Client", "EnrolledSpeaker"]

# Time limits of responses in seconds, and of responses to diarizations. They exceed the service's own limits. The service's limit
# for diarizations grows with the length of the recording.
TIMEOUT_SECONDS = 120.0
DIARIZE_TIMEOUT_SECONDS = 3_900.0

# The time limit of a connection attempt in seconds.
CONNECT_TIMEOUT_SECONDS = 10.0

# The default wait before a retry, and the longest wait that the service may request, in seconds.
RETRY_AFTER_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 30.0

JSON = dict[str, Any]

# The path of a recording, or the bytes of the file.
Recording = Union[str, "os.PathLike[str]", bytes]


@dataclass(frozen=True)
class EnrolledSpeaker:
    """A speaker enrolled in the service, used as a voice."""

    speaker: str
    collection: Optional[str] = None


# A recording, a result of `embed`, an embedding, an enrolled speaker, or a voice in the format of the service, such as a speaker
# from `diarize`.
AnyVoice = Union[Recording, Voice, NDArray[Any], EnrolledSpeaker, Mapping[str, Any]]

# Codes of requests that the service rejects before it starts any work.
REFUSED = ("overloaded", "model_not_ready", "shutting_down")


class EmbedOptions(TypedDict, total=False):
    """Options of ``embed``."""

    model: str
    channel: Union[int, str]


class VerifyOptions(TypedDict, total=False):
    """Options of ``verify``."""

    threshold: float
    max_false_accept_rate: float
    channel: Union[int, str]
    model: str


class IdentifyOptions(TypedDict, total=False):
    """Options of ``identify``."""

    collection: str
    top: int
    margin: float
    threshold: float
    max_false_identification_rate: float
    channel: Union[int, str]
    model: str


class SpeakerOptions(TypedDict, total=False):
    """The description of a speaker."""

    id: str
    name: str
    collection: str
    metadata: JSON


class EnrolOptions(TypedDict, total=False):
    """Options of ``enrol``."""

    collection: str
    channel: Union[int, str]
    model: str
    force: bool


class DiarizeOptions(TypedDict, total=False):
    """Options of ``diarize``."""

    num_speakers: int
    min_speakers: int
    max_speakers: int
    channel: Union[int, str]
    overlap: bool
    collection: str
    known_speakers: Mapping[str, Recording]
    """An alternative to a collection: recordings of the speakers to recognise, by name."""
    transcript: Any
    response_format: Literal["json", "diarized_json"]
    model: str


@dataclass(frozen=True)
class _Call:
    """A request with a form of parts or with JSON."""

    method: str
    path: str
    parts: Optional[list[tuple[str, tuple[Optional[str], bytes, str]]]] = None
    body: Optional[JSON] = None
    is_repeatable: bool = True
    """Whether the request may be repeated although it may have succeeded."""
    least_timeout: float = 0.0
    """The shortest time limit of the response in seconds."""


def _form(path: str, voices: Mapping[str, AnyVoice], options: Mapping[str, Any], least_timeout: float = 0.0) -> _Call:
    options = _given(options)
    parts = [(name, _part(voice, options.get("model"))) for name, voice in voices.items()]
    for name, value in options.items():
        text = value if isinstance(value, str) else _json(value)
        parts.append((name, (None, text.encode(), "text/plain")))
    return _Call("POST", path, parts, least_timeout=least_timeout)


def _of_recording(path: str, recording: Recording, options: Mapping[str, Any], least_timeout: float = 0.0) -> _Call:
    return _form(path, {"file": _recording(recording)}, options, least_timeout)


def _recording(recording: Recording) -> Recording:
    if not isinstance(recording, (str, os.PathLike, bytes, bytearray, memoryview)):
        raise TypeError(f"a recording is a path or the bytes of a file, not {type(recording).__name__}")
    return recording


def _part(voice: AnyVoice, model: Optional[str]) -> tuple[Optional[str], bytes, str]:
    """Returns a part of a form: its file name, content and type."""
    if isinstance(voice, (bytes, bytearray, memoryview)):
        return "recording", bytes(voice), "application/octet-stream"
    if isinstance(voice, (str, os.PathLike)):
        return "recording", Path(os.fsdecode(voice)).read_bytes(), "application/octet-stream"
    return None, _json(_described(voice, model)).encode(), "application/json"


def _described(voice: Any, model: Optional[str]) -> JSON:
    if isinstance(voice, Mapping):
        return dict(voice)
    if isinstance(voice, EnrolledSpeaker):
        return _given({"speaker": voice.speaker, "collection": voice.collection})
    if isinstance(voice, Voice):
        embedding = {"embedding": voice.embedding.tolist(), "model": voice.model}
        return {**embedding, "speech_seconds": voice.audio.speech_seconds, "warnings": list(voice.audio.warnings)}
    if not isinstance(voice, (np.ndarray, list, tuple)) or np.ndim(voice) != 1:
        raise TypeError(f"a voice is a recording, an embedding or a speaker, not {type(voice).__name__}")
    return {"embedding": np.asarray(voice, np.float64).tolist(), "model": model or "resemblyzer"}


def _given(options: Mapping[str, Any]) -> JSON:
    return {name: value for name, value in options.items() if value is not None}


def _json(value: Any) -> str:
    # `item` converts numbers of NumPy to Python's.
    return json.dumps(value, default=lambda other: other.item())


def _speaker_path(speaker: str, below: str = "") -> str:
    return f"v1/speakers/{_quoted(speaker)}{below}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _delete(speaker: str, collection: Optional[str]) -> _Call:
    query = "" if collection is None else f"?collection={_quoted(collection)}"
    return _Call("DELETE", _speaker_path(speaker, query), is_repeatable=False)


def _create(options: SpeakerOptions) -> _Call:
    body = _given(options)
    # Without an id, repeating the request would create a second speaker.
    return _Call("POST", "v1/speakers", body=body, is_repeatable="id" in body)


def _embed(recording: Recording, options: EmbedOptions) -> _Call:
    return _of_recording("v1/embeddings", recording, {"encoding_format": "base64", **options})


def _verify(a: AnyVoice, b: AnyVoice, options: VerifyOptions) -> _Call:
    return _form("v1/verify", {"a": a, "b": b}, options)


def _identify(voice: AnyVoice, options: IdentifyOptions) -> _Call:
    return _form("v1/identify", {"voice": voice}, options)


def _enrol(speaker: str, voice: AnyVoice, options: EnrolOptions) -> _Call:
    return _form(_speaker_path(speaker, "/enrolments"), {"voice": voice}, options)


def _diarize(recording: Recording, options: DiarizeOptions) -> _Call:
    known = options.get("known_speakers", {})
    others = {name: value for name, value in options.items() if name != "known_speakers"}
    call = _of_recording("v1/diarize", recording, others, DIARIZE_TIMEOUT_SECONDS)
    assert call.parts is not None
    for name, reference in known.items():
        call.parts.append(("known_speaker_names[]", (None, name.encode(), "text/plain")))
        call.parts.append(("known_speaker_references[]", _part(_recording(reference), None)))
    return call


def _embedded(answer: JSON) -> Voice:
    (data,) = answer["data"]
    embedding = np.frombuffer(base64.b64decode(data["embedding"]), "<f4").astype(np.float32)
    audio = data["audio"]
    return Voice(embedding, AudioReport(**{**audio, "warnings": tuple(audio["warnings"])}), data["model"])


def _answer(response: httpx.Response) -> JSON:
    """Returns the JSON of a response, or raises its error."""
    if not response.is_success:
        raise _error(response)
    found: JSON = response.json() if response.content else {}
    return found


def _error(response: httpx.Response) -> VoiceEmbeddingError:
    try:
        told = response.json()
        detail, code = told["detail"], str(told["code"])
    except (ValueError, TypeError, KeyError):
        # The response is not from the service, but probably from a proxy in front of it.
        detail, code = response.text[:200] or response.reason_phrase, f"http_{response.status_code}"
    error = from_code(code, detail if isinstance(detail, str) else json.dumps(detail))
    error.status = response.status_code
    error.request_id = response.headers.get("X-Request-Id")
    return error


def _wait_seconds(call: _Call, outcome: Union[httpx.Response, httpx.TransportError]) -> Optional[float]:
    """Returns the wait before a retry in seconds, or ``None`` if the request should not be retried."""
    if isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout)):
        # A request that was never sent has no effect.
        return RETRY_AFTER_SECONDS
    if isinstance(outcome, httpx.TransportError):
        # A request that timed out would probably time out again.
        is_lost = isinstance(outcome, (httpx.NetworkError, httpx.RemoteProtocolError))
        return RETRY_AFTER_SECONDS if is_lost and call.is_repeatable else None
    if outcome.status_code not in (429, 503):
        return None
    code = _error(outcome).code
    is_refused = outcome.status_code == 429 or code in REFUSED
    if not is_refused and not (call.is_repeatable and code != "timeout"):
        return None
    try:
        named = float(outcome.headers["Retry-After"])
    except (KeyError, ValueError):
        return RETRY_AFTER_SECONDS
    return min(max(named, 0.0), MAX_RETRY_AFTER_SECONDS) if math.isfinite(named) else RETRY_AFTER_SECONDS


def _sent(call: _Call, timeout: float) -> JSON:
    """Returns the arguments for httpx."""
    # A connection succeeds soon or never. A request may wait long for a free connection of this client, so `pool` has no limit.
    limits = httpx.Timeout(max(timeout, call.least_timeout), connect=CONNECT_TIMEOUT_SECONDS, pool=None)
    return {"json": call.body, "files": call.parts, "timeout": limits}


def _checked_retries(retries: int) -> int:
    if retries < 0:
        raise ValueError(f"retries is at least 0, not {retries}")
    return retries


class Client:
    """Sends requests to a running service. Close it, or use it in a ``with`` statement.

    All methods raise ``VoiceEmbeddingError`` (in the subclass for its ``code``) if the service returns an error,
    ``httpx.TransportError`` if it does not respond, and ``OSError`` if a recording cannot be read.

    Args:
        url: The URL of the service, with its path prefix if it has one.
        key: The API key.
        retries: The number of retries after a rejection for load (429, 503) or a lost connection.
        timeout: The time limit of a response in seconds. The limit for a diarization is longer.
    """

    def __init__(
        self, url: str, key: Optional[str] = None, *, retries: int = 2, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._retries = _checked_retries(retries)
        self._timeout = timeout
        self._http = httpx.Client(base_url=url, headers=_headers(key))
        self._live_headers = _headers(key)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def embed(self, recording: Recording, **options: Unpack[EmbedOptions]) -> Voice:
        """Embeds the voice in a recording."""
        return _embedded(self._ask(_embed(recording, options)))

    def verify(self, a: AnyVoice, b: AnyVoice, **options: Unpack[VerifyOptions]) -> JSON:
        """Decides whether two voices are of the same speaker. Returns the response of ``POST /v1/verify``."""
        return self._ask(_verify(a, b, options))

    def identify(self, voice: AnyVoice, **options: Unpack[IdentifyOptions]) -> JSON:
        """Identifies a voice among enrolled speakers. Returns the response of ``POST /v1/identify``."""
        return self._ask(_identify(voice, options))

    def create_speaker(self, **options: Unpack[SpeakerOptions]) -> JSON:
        """Creates a speaker. Returns the response of ``POST /v1/speakers``.

        A repeated call with the same id finds the speaker that the first call created.
        """
        return self._ask(_create(options))

    def enrol(self, speaker: str, voice: AnyVoice, **options: Unpack[EnrolOptions]) -> JSON:
        """Enrols a voice of the speaker with this id. Returns the response of ``POST /v1/speakers/{id}/enrolments``."""
        return self._ask(_enrol(speaker, voice, options))

    def delete_speaker(self, speaker: str, *, collection: Optional[str] = None) -> None:
        """Deletes a speaker with all enrolments."""
        self._ask(_delete(speaker, collection))

    def diarize(self, recording: Recording, **options: Unpack[DiarizeOptions]) -> JSON:
        """Finds who spoke when and, with a transcript, who said what. Returns the response of ``POST /v1/diarize``."""
        return self._ask(_diarize(recording, options))

    def live(self, samples: Iterable[Sent], **options: Unpack[LiveOptions]) -> Iterator[JSON]:
        """Reports who is speaking while samples arrive. Yields the events of a live session; the last one is ``final``.

        Samples are bytes or arrays. A mapping is sent as a message, such as ``{"type": "flush"}``. A separate thread reads the
        samples. docs/live.md describes options and events. Needs websockets (``pip install voice-embedding[live]``).
        """
        url = _live.address(self._http.base_url, options)
        return _live.events(url, self._live_headers, samples, options.get("encoding", "s16le"))

    def _ask(self, call: _Call) -> JSON:
        for left in reversed(range(self._retries + 1)):
            outcome = self._send(call)
            wait = _wait_seconds(call, outcome)
            if wait is None or left == 0:
                break
            time.sleep(wait)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return _answer(outcome)

    def _send(self, call: _Call) -> Union[httpx.Response, httpx.TransportError]:
        try:
            return self._http.request(call.method, call.path, **_sent(call, self._timeout))
        except httpx.TransportError as error:
            return error


class AsyncClient:
    """As :class:`Client`, for asyncio. Close it, or use it in an ``async with`` statement."""

    def __init__(
        self, url: str, key: Optional[str] = None, *, retries: int = 2, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._retries = _checked_retries(retries)
        self._timeout = timeout
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key))
        self._live_headers = _headers(key)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def embed(self, recording: Recording, **options: Unpack[EmbedOptions]) -> Voice:
        """As :meth:`Client.embed`."""
        return _embedded(await self._ask(await asyncio.to_thread(_embed, recording, options)))

    async def verify(self, a: AnyVoice, b: AnyVoice, **options: Unpack[VerifyOptions]) -> JSON:
        """As :meth:`Client.verify`."""
        return await self._ask(await asyncio.to_thread(_verify, a, b, options))

    async def identify(self, voice: AnyVoice, **options: Unpack[IdentifyOptions]) -> JSON:
        """As :meth:`Client.identify`."""
        return await self._ask(await asyncio.to_thread(_identify, voice, options))

    async def create_speaker(self, **options: Unpack[SpeakerOptions]) -> JSON:
        """As :meth:`Client.create_speaker`."""
        return await self._ask(_create(options))

    async def enrol(self, speaker: str, voice: AnyVoice, **options: Unpack[EnrolOptions]) -> JSON:
        """As :meth:`Client.enrol`."""
        return await self._ask(await asyncio.to_thread(_enrol, speaker, voice, options))

    async def delete_speaker(self, speaker: str, *, collection: Optional[str] = None) -> None:
        """As :meth:`Client.delete_speaker`."""
        await self._ask(_delete(speaker, collection))

    async def diarize(self, recording: Recording, **options: Unpack[DiarizeOptions]) -> JSON:
        """As :meth:`Client.diarize`."""
        return await self._ask(await asyncio.to_thread(_diarize, recording, options))

    def live(
        self, samples: Union[AsyncIterable[Sent], Iterable[Sent]], **options: Unpack[LiveOptions]
    ) -> AsyncIterator[JSON]:
        """As :meth:`Client.live`. Samples may also come from an asynchronous iterator."""
        url = _live.address(self._http.base_url, options)
        return _live.async_events(url, self._live_headers, samples, options.get("encoding", "s16le"))

    async def _ask(self, call: _Call) -> JSON:
        for left in reversed(range(self._retries + 1)):
            outcome = await self._send(call)
            wait = _wait_seconds(call, outcome)
            if wait is None or left == 0:
                break
            await asyncio.sleep(wait)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return _answer(outcome)

    async def _send(self, call: _Call) -> Union[httpx.Response, httpx.TransportError]:
        try:
            return await self._http.request(call.method, call.path, **_sent(call, self._timeout))
        except httpx.TransportError as error:
            return error


def _headers(key: Optional[str]) -> dict[str, str]:
    return {} if key is None else {"X-API-Key": key}
