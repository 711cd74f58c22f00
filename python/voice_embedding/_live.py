"""Live sessions with a running service, over WebSockets (``pip install voice-embedding[live]``)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Union
from urllib.parse import urlencode

import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import VoiceEmbeddingError, from_code

if TYPE_CHECKING:
    from websockets.exceptions import InvalidStatus

JSON = dict[str, Any]

# Samples as bytes or as an array (16-bit integers or floats), or a message such as {"type": "flush"}.
Sent = Union[bytes, NDArray[Any], Mapping[str, Any]]

# The time limit of a handshake in seconds.
OPEN_TIMEOUT_SECONDS = 10.0

END = json.dumps({"type": "end"})


class LiveOptions(TypedDict, total=False):
    """Options of ``live``."""

    encoding: str
    """The encoding of bytes: s16le (the default), s16be, f32le, mulaw or alaw.

    Arrays can be sent with s16le and f32le only.
    """
    sample_rate: int
    channels: int
    channel: Union[int, str]
    model: str
    collection: str
    num_speakers: int
    min_speakers: int
    max_speakers: int
    partial_seconds: float


def address(base: httpx.URL, options: LiveOptions) -> str:
    """Returns the address of a session."""
    scheme = {"http": "ws", "https": "wss"}[base.scheme]
    given = {name: value for name, value in options.items() if value is not None}
    query = f"?{urlencode(given)}" if given else ""
    return f"{base.copy_with(scheme=scheme)}".rstrip("/") + f"/v1/live{query}"


def message(sent: Sent, encoding: str) -> Union[bytes, str]:
    """Converts samples or a message to the data for the socket."""
    if isinstance(sent, (bytes, bytearray, memoryview)):
        return bytes(sent)
    if isinstance(sent, Mapping):
        return json.dumps(dict(sent))
    samples = np.asarray(sent)
    if encoding == "f32le":
        scale = np.float32(1 / 32_768) if np.issubdtype(samples.dtype, np.integer) else np.float32(1)
        return (samples.astype("<f4") * scale).astype("<f4").tobytes()
    if encoding != "s16le":
        raise ValueError(f"arrays are sent as s16le or f32le, not {encoding}")
    if not np.issubdtype(samples.dtype, np.integer):
        samples = np.clip(np.rint(samples * 32_767), -32_768, 32_767)
    return samples.astype("<i2").tobytes()


def refused(error: InvalidStatus) -> VoiceEmbeddingError:
    """Returns the error of a rejected handshake."""
    from .client import _error

    answer = error.response
    return _error(httpx.Response(answer.status_code, headers=list(answer.headers.raw_items()), content=bytes(answer.body or b"")))


class Told:
    """The state of a session according to its events so far."""

    def __init__(self) -> None:
        self._error: JSON = {"code": "internal", "message": "the session ended before its result came"}
        self._is_final = False

    def event(self, text: Union[str, bytes]) -> JSON:
        """Parses the next event."""
        event: JSON = json.loads(text)
        if event["type"] == "error":
            self._error = event
        self._is_final = event["type"] == "final"
        return event

    def check(self) -> None:
        """Raises the error of a session that ended without its result."""
        if not self._is_final:
            raise from_code(str(self._error["code"]), str(self._error["message"]))


def events(url: str, headers: Mapping[str, str], samples: Iterable[Sent], encoding: str) -> Iterator[JSON]:
    """Yields the events of a session. A separate thread reads the samples."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    failed: list[BaseException] = []
    try:
        socket = connect(url, additional_headers=headers, max_size=None, open_timeout=OPEN_TIMEOUT_SECONDS)
    except InvalidStatus as error:
        raise refused(error) from None
    with socket:

        def send() -> None:
            try:
                for sent in samples:
                    socket.send(message(sent, encoding))
                socket.send(END)
            except ConnectionClosed:
                pass
            except BaseException as error:
                failed.append(error)
                socket.close()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        told = Told()
        try:
            for text in socket:
                yield told.event(text)
        except ConnectionClosed:
            pass
        if failed:
            raise failed[0]
        told.check()


async def async_events(
    url: str, headers: Mapping[str, str], samples: Union[AsyncIterable[Sent], Iterable[Sent]], encoding: str
) -> AsyncIterator[JSON]:
    """Yields the events of a session. A separate task reads the samples."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    try:
        socket = await connect(url, additional_headers=headers, max_size=None, open_timeout=OPEN_TIMEOUT_SECONDS)
    except InvalidStatus as error:
        raise refused(error) from None

    async def send() -> None:
        try:
            if isinstance(samples, AsyncIterable):
                async for sent in samples:
                    await socket.send(message(sent, encoding))
            else:
                for sent in samples:
                    await socket.send(message(sent, encoding))
            await socket.send(END)
        except ConnectionClosed:
            pass
        except Exception as error:
            failed.append(error)
            await socket.close()

    failed: list[Exception] = []
    async with socket:
        sender = asyncio.ensure_future(send())
        told = Told()
        try:
            async for text in socket:
                yield told.event(text)
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        if failed:
            raise failed[0]
        told.check()
