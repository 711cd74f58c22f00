"""A batch of paths -> a batch of embeddings: what an engine for large jobs calls on its workers."""

import pandas as pd
import voice_embedding

# Of a row, as Spark writes it.
SCHEMA = "path string, embedding array<float>, speech_seconds double, warnings array<string>, model string, error string"


def embed_batch(batch: pd.DataFrame, threads: int = 1) -> pd.DataFrame:
    """Embeds the recordings that the column `path` names. A bad one is a row with its `error` and no embedding.

    Engines run a worker on each core, so a batch takes one thread. The model is loaded once in each process.
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
