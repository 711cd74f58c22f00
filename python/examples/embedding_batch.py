"""Converts a batch of paths to a batch of embeddings. Engines for large jobs call this function on their workers."""

import pandas as pd
import voice_embedding

# The columns of a row, in Spark's notation.
SCHEMA = "path string, embedding array<float>, speech_seconds double, warnings array<string>, model string, error string"


def embed_batch(batch: pd.DataFrame, threads: int = 1) -> pd.DataFrame:
    """Embeds the recordings in the column `path`. The row of a bad recording has an `error` and no embedding.

    Engines run a worker on each core, so a batch uses one thread. The model is loaded once per process.
    """
    columns = ["path", "embedding", "speech_seconds", "warnings", "model", "error"]
    rows = []
    for result in voice_embedding.embed_files(batch["path"], threads=threads):
        voice = result.voice
        if voice is None:
            rows.append((result.path, None, None, None, None, result.code))
        else:
            audio = voice.audio
            rows.append((result.path, voice.embedding, audio.speech_seconds, list(audio.warnings), voice.model, None))
    return pd.DataFrame(rows, columns=columns)
