"""Tests of the function that the examples for large jobs share."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import voice_embedding
from conftest import voices

pd = pytest.importorskip("pandas", reason="pandas is not installed")

sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples"))


def test_a_batch_of_paths_becomes_a_batch_of_embeddings(tmp_path: pathlib.Path) -> None:
    from embedding_batch import SCHEMA, embed_batch

    text = tmp_path / "text.wav"
    text.write_text("no recording")
    paths = [voices("alan-1"), str(text), voices("beth-1"), str(tmp_path / "missing.wav")]
    # Batches of a larger table keep their row labels.
    found = embed_batch(pd.DataFrame({"path": paths}, index=[7, 8, 9, 10]))
    assert list(found.columns) == [column.split()[0] for column in SCHEMA.split(", ")]
    assert list(found["path"]) == paths
    assert list(found["error"].fillna("")) == ["", "unsupported_audio", "", "unreadable"]
    np.testing.assert_array_equal(found["embedding"][2], voice_embedding.embed(paths[2]).embedding)
    assert found["speech_seconds"][0] == pytest.approx(5.97)
    assert found["embedding"][1] is None
    assert list(embed_batch(pd.DataFrame({"path": []})).columns) == list(found.columns)
