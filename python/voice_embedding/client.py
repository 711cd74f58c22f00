"""Clients of a running service, which need httpx (``pip install voice-embedding[client]``).

Options have the service's names, and what is not an embedding is answered as its JSON: docs/api.md has both.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypedDict, Union
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import VoiceEmbeddingError, of_code
from .models import AudioReport, Voice

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["AsyncClient", "Client", "EnrolledSpeaker"]

# Seconds that an answer may take: above the service's own limits for all but long recordings.
TIMEOUT_SECONDS = 120.0

# Seconds to wait before a request is repeated, unless the service names them, and the most that it may name.
RETRY_AFTER_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 30.0

JSON = dict[str, Any]

# The path of a recording, or the bytes of the file.
Recording = Union[str, "os.PathLike[str]", bytes]


@dataclass(frozen=True)
class EnrolledSpeaker:
    """A speaker whom the service keeps, as a voice."""

    speaker: str
    collection: Optional[str] = None


# A recording, what `embed` gave, an embedding of the default model, or an enrolled speaker.
AnyVoice = Union[Recording, Voice, NDArray[Any], EnrolledSpeaker]


class EmbedOptions(TypedDict, total=False):
    """Options of ``embed``."""

    model: str
    channel: Union[int, str]


class VerifyOptions(TypedDict, total=False):
    """Options of ``verify``."""

    threshold: float
    max_false_accept_rate: float
    model: str


class IdentifyOptions(TypedDict, total=False):
    """Options of ``identify``."""

    collection: str
    top: int
    margin: float
    threshold: float
    max_false_identification_rate: float
    model: str


class SpeakerOptions(TypedDict, total=False):
    """What is known of a speaker."""

    id: str
    name: str
    collection: str
    metadata: JSON


class EnrolOptions(TypedDict, total=False):
    """Options of ``enrol``."""

    collection: str
    model: str
    force: bool


class DiarizeOptions(TypedDict, total=False):
    """Options of ``diarize``."""

    num_speakers: int
    min_speakers: int
    max_speakers: int
    channel: Union[int, str]
    collection: str
    transcript: Any
    model: str


@dataclass(frozen=True)
class _Call:
    """A request: a form of parts, or JSON."""

    method: str
    path: str
    parts: Optional[list[tuple[str, tuple[Optional[str], bytes, str]]]] = None
    body: Optional[JSON] = None
    is_repeatable: bool = True
    """Whether it may be sent again after its answer has been lost."""


def _form(path: str, voices: Mapping[str, AnyVoice], options: Mapping[str, Any]) -> _Call:
    parts = [(name, _part(voice)) for name, voice in voices.items()]
    for name, value in options.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append((name, (None, text.encode(), "text/plain")))
    return _Call("POST", path, parts)


def _part(voice: AnyVoice) -> tuple[Optional[str], bytes, str]:
    """A part of a form: its file name, content and type."""
    if isinstance(voice, bytes):
        return "recording", voice, "application/octet-stream"
    if isinstance(voice, (str, os.PathLike)):
        return Path(voice).name, Path(voice).read_bytes(), "application/octet-stream"
    return None, json.dumps(_described(voice)).encode(), "application/json"


def _described(voice: Union[Voice, NDArray[Any], EnrolledSpeaker]) -> JSON:
    if isinstance(voice, EnrolledSpeaker):
        in_collection = {} if voice.collection is None else {"collection": voice.collection}
        return {"speaker": voice.speaker, **in_collection}
    if isinstance(voice, Voice):
        embedding = {"embedding": voice.embedding.tolist(), "model": voice.model}
        return {**embedding, "speech_seconds": voice.audio.speech_seconds, "warnings": list(voice.audio.warnings)}
    return {"embedding": np.asarray(voice, np.float64).tolist(), "model": "resemblyzer"}


def _speaker_path(speaker: str, below: str = "") -> str:
    return f"v1/speakers/{_quoted(speaker)}{below}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _delete(speaker: str, collection: Optional[str]) -> _Call:
    query = "" if collection is None else f"?collection={_quoted(collection)}"
    return _Call("DELETE", _speaker_path(speaker, query), is_repeatable=False)


def _create(options: SpeakerOptions) -> _Call:
    # Without an id, the same request twice makes two speakers.
    return _Call("POST", "v1/speakers", body=dict(options), is_repeatable="id" in options)


def _embedded(answer: JSON) -> Voice:
    (data,) = answer["data"]
    embedding = np.frombuffer(base64.b64decode(data["embedding"]), "<f4").astype(np.float32)
    audio = data["audio"]
    return Voice(embedding, AudioReport(**{**audio, "warnings": tuple(audio["warnings"])}), data["model"])


def _answer(response: httpx.Response) -> JSON:
    """The JSON of an answer, or the error that it tells."""
    if not response.is_success:
        raise _error(response)
    found: JSON = response.json() if response.content else {}
    return found


def _error(response: httpx.Response) -> VoiceEmbeddingError:
    try:
        told = response.json()
        detail, code = told["detail"], str(told["code"])
    except (ValueError, TypeError, KeyError):
        # Not the service: a proxy in front of it, most likely.
        detail, code = response.text[:200] or response.reason_phrase, f"http_{response.status_code}"
    error = of_code(code, detail if isinstance(detail, str) else json.dumps(detail))
    error.status = response.status_code
    error.request_id = response.headers.get("X-Request-Id")
    return error


def _wait_seconds(call: _Call, outcome: Union[httpx.Response, httpx.TransportError]) -> Optional[float]:
    """How long to wait before the request is repeated; none if it should not be."""
    if isinstance(outcome, httpx.TransportError):
        # What never left has done nothing.
        has_not_left = isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout))
        return RETRY_AFTER_SECONDS if call.is_repeatable or has_not_left else None
    if outcome.status_code not in (429, 503):
        return None
    try:
        return min(float(outcome.headers["Retry-After"]), MAX_RETRY_AFTER_SECONDS)
    except (KeyError, ValueError):
        return RETRY_AFTER_SECONDS


class Client:
    """Asks a running service. To be closed, or used in a ``with`` statement.

    All methods raise ``VoiceEmbeddingError``, in a subclass by its ``code``, if the service refuses; ``httpx.TransportError`` if it
    does not answer; ``OSError`` if a recording cannot be read.

    Args:
        url: of the service, with its path prefix if it has one.
        key: the API key.
        retries: how often a request is repeated that was refused for load (429, 503) or lost its connection.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self, url: str, key: Optional[str] = None, *, retries: int = 2, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._retries = retries
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def embed(self, recording: Recording, **options: Unpack[EmbedOptions]) -> Voice:
        """The voice in a recording."""
        return _embedded(self._ask(_form("v1/embeddings", {"file": recording}, {"encoding_format": "base64", **options})))

    def verify(self, a: AnyVoice, b: AnyVoice, **options: Unpack[VerifyOptions]) -> JSON:
        """Whether two voices are one speaker's: the answer of ``POST /v1/verify``."""
        return self._ask(_form("v1/verify", {"a": a, "b": b}, options))

    def identify(self, voice: AnyVoice, **options: Unpack[IdentifyOptions]) -> JSON:
        """Whose voice it is among enrolled speakers: the answer of ``POST /v1/identify``."""
        return self._ask(_form("v1/identify", {"voice": voice}, options))

    def create_speaker(self, **options: Unpack[SpeakerOptions]) -> JSON:
        """Creates a speaker, or finds the one that the same call has created by its id: the answer of ``POST /v1/speakers``."""
        return self._ask(_create(options))

    def enrol(self, speaker: str, voice: AnyVoice, **options: Unpack[EnrolOptions]) -> JSON:
        """Enrols a voice of a speaker, by id: the answer of ``POST /v1/speakers/{id}/enrolments``."""
        return self._ask(_form(_speaker_path(speaker, "/enrolments"), {"voice": voice}, options))

    def delete_speaker(self, speaker: str, *, collection: Optional[str] = None) -> None:
        """Deletes a speaker with all enrolments."""
        self._ask(_delete(speaker, collection))

    def diarize(self, recording: Recording, **options: Unpack[DiarizeOptions]) -> JSON:
        """Who spoke when and, with a transcript, who said what: the answer of ``POST /v1/diarize``."""
        return self._ask(_form("v1/diarize", {"file": recording}, options))

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
            return self._http.request(call.method, call.path, json=call.body, files=call.parts)
        except httpx.TransportError as error:
            return error


class AsyncClient:
    """As :class:`Client`, for asyncio. To be closed, or used in an ``async with`` statement."""

    def __init__(
        self, url: str, key: Optional[str] = None, *, retries: int = 2, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._retries = retries
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def embed(self, recording: Recording, **options: Unpack[EmbedOptions]) -> Voice:
        """As :meth:`Client.embed`."""
        answer = await self._ask(_form("v1/embeddings", {"file": recording}, {"encoding_format": "base64", **options}))
        return _embedded(answer)

    async def verify(self, a: AnyVoice, b: AnyVoice, **options: Unpack[VerifyOptions]) -> JSON:
        """As :meth:`Client.verify`."""
        return await self._ask(_form("v1/verify", {"a": a, "b": b}, options))

    async def identify(self, voice: AnyVoice, **options: Unpack[IdentifyOptions]) -> JSON:
        """As :meth:`Client.identify`."""
        return await self._ask(_form("v1/identify", {"voice": voice}, options))

    async def create_speaker(self, **options: Unpack[SpeakerOptions]) -> JSON:
        """As :meth:`Client.create_speaker`."""
        return await self._ask(_create(options))

    async def enrol(self, speaker: str, voice: AnyVoice, **options: Unpack[EnrolOptions]) -> JSON:
        """As :meth:`Client.enrol`."""
        return await self._ask(_form(_speaker_path(speaker, "/enrolments"), {"voice": voice}, options))

    async def delete_speaker(self, speaker: str, *, collection: Optional[str] = None) -> None:
        """As :meth:`Client.delete_speaker`."""
        await self._ask(_delete(speaker, collection))

    async def diarize(self, recording: Recording, **options: Unpack[DiarizeOptions]) -> JSON:
        """As :meth:`Client.diarize`."""
        return await self._ask(_form("v1/diarize", {"file": recording}, options))

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
            return await self._http.request(call.method, call.path, json=call.body, files=call.parts)
        except httpx.TransportError as error:
            return error


def _headers(key: Optional[str]) -> dict[str, str]:
    return {} if key is None else {"X-API-Key": key}
