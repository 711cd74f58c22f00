"""Exceptions, one for each ``code`` that programs need to distinguish."""

from __future__ import annotations

from typing import Optional


class VoiceEmbeddingError(Exception):
    """An error of this package or of the service. Codes without a subclass below are raised as this class.

    Attributes:
        code: The kind of error, for programs, as in the service's responses.
        status: The HTTP status, if the service responded.
        request_id: The service's id of the request, if it responded.
    """

    code: str = "internal"
    status: Optional[int] = None
    request_id: Optional[str] = None


class AudioError(VoiceEmbeddingError):
    """A recording cannot be embedded, because of its content."""


class UnsupportedAudio(AudioError):
    """The file is not a recording, or its format is not supported."""

    code = "unsupported_audio"


class CorruptAudio(AudioError):
    """The recording is damaged."""

    code = "corrupt_audio"


class NoSpeech(AudioError):
    """No speech was found."""

    code = "no_speech"


class AudioTooShort(AudioError):
    """The recording contains less speech than required."""

    code = "audio_too_short"


class AudioTooLong(AudioError):
    """The recording is longer than allowed."""

    code = "audio_too_long"


class ValidationError(VoiceEmbeddingError):
    """A part of the request is invalid."""

    code = "validation_error"


class InvalidApiKey(VoiceEmbeddingError):
    """The service does not accept the key."""

    code = "invalid_api_key"


class Forbidden(VoiceEmbeddingError):
    """The key lacks a right."""

    code = "forbidden"


class ModelMismatch(VoiceEmbeddingError):
    """The embeddings come from different models."""

    code = "model_mismatch"


class SpeakerNotFound(VoiceEmbeddingError):
    """The collection does not contain this speaker."""

    code = "speaker_not_found"


class SpeakerExists(VoiceEmbeddingError):
    """Another speaker has this id."""

    code = "speaker_exists"


class TooLittleSpeech(VoiceEmbeddingError):
    """The recording contains too little speech for an enrolment."""

    code = "too_little_speech"


class UnfitRecording(VoiceEmbeddingError):
    """The recording contains noise or several speakers, so it is not enrolled."""

    code = "unfit_recording"


class NotThisSpeaker(VoiceEmbeddingError):
    """The voice differs too much from the speaker's profile to be enrolled."""

    code = "not_this_speaker"


class DuplicateEnrolment(VoiceEmbeddingError):
    """The same recording is already enrolled for another speaker."""

    code = "duplicate_enrolment"


class RateLimited(VoiceEmbeddingError):
    """The key has reached its rate limit."""

    code = "rate_limited"


class Overloaded(VoiceEmbeddingError):
    """The service's queue is full."""

    code = "overloaded"


def _subclasses(of: type[VoiceEmbeddingError]) -> dict[str, type[VoiceEmbeddingError]]:
    found = {}
    for subclass in of.__subclasses__():
        found.update(_subclasses(subclass))
        if "code" in vars(subclass):
            found[subclass.code] = subclass
    return found


_BY_CODE = _subclasses(VoiceEmbeddingError)


def from_code(code: str, message: str) -> VoiceEmbeddingError:
    """Returns the exception for a code."""
    error = _BY_CODE.get(code, VoiceEmbeddingError)(message)
    error.code = code
    return error
