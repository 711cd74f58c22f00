"""Exceptions, one for each ``code`` that programs tell apart."""

from __future__ import annotations

from typing import Optional


class VoiceEmbeddingError(Exception):
    """Why something has no answer. Other codes than those below are raised as this class itself.

    Attributes:
        code: the kind of error, for programs, as the service's answers have it.
        status: the HTTP status, if the service answered.
        request_id: the service's id of the request, if it answered.
    """

    code: str = "internal"
    status: Optional[int] = None
    request_id: Optional[str] = None


class AudioError(VoiceEmbeddingError):
    """A recording has no embedding, for a reason that lies in it."""


class UnsupportedAudio(AudioError):
    """The file is no recording, or of a kind that is not decoded."""

    code = "unsupported_audio"


class CorruptAudio(AudioError):
    """The recording is damaged."""

    code = "corrupt_audio"


class NoSpeech(AudioError):
    """No speech was found."""

    code = "no_speech"


class AudioTooShort(AudioError):
    """There is less speech than was asked for."""

    code = "audio_too_short"


class AudioTooLong(AudioError):
    """The recording is longer than was allowed."""

    code = "audio_too_long"


class ValidationError(VoiceEmbeddingError):
    """A part of the request is not as it should be."""

    code = "validation_error"


class InvalidApiKey(VoiceEmbeddingError):
    """The service does not know the key."""

    code = "invalid_api_key"


class Forbidden(VoiceEmbeddingError):
    """The key lacks a right."""

    code = "forbidden"


class ModelMismatch(VoiceEmbeddingError):
    """Embeddings of unlike models."""

    code = "model_mismatch"


class SpeakerNotFound(VoiceEmbeddingError):
    """There is no such speaker in the collection."""

    code = "speaker_not_found"


class SpeakerExists(VoiceEmbeddingError):
    """Another speaker has the id."""

    code = "speaker_exists"


class TooLittleSpeech(VoiceEmbeddingError):
    """There is too little speech to enrol."""

    code = "too_little_speech"


class UnfitRecording(VoiceEmbeddingError):
    """Noise, or several speakers: nothing to enrol."""

    code = "unfit_recording"


class NotThisSpeaker(VoiceEmbeddingError):
    """A voice to enrol is unlike the speaker's profile."""

    code = "not_this_speaker"


class DuplicateEnrolment(VoiceEmbeddingError):
    """The same recording is enrolled for another speaker."""

    code = "duplicate_enrolment"


class RateLimited(VoiceEmbeddingError):
    """The key's rate is used up."""

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


def of_code(code: str, message: str) -> VoiceEmbeddingError:
    """The exception for a code."""
    error = _BY_CODE.get(code, VoiceEmbeddingError)(message)
    error.code = code
    return error
