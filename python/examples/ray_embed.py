"""Embeds the recordings of a folder with Ray Data: ray_embed.py FOLDER OUTPUT [WORKERS].

Writes Parquet with a row for each recording. With WORKERS it runs on this machine, otherwise on the cluster of
`ray job submit --working-dir python/examples`. Workers need the package and access to the paths.
"""

import pathlib
import sys

import pandas as pd
import pyarrow as pa
import ray
from embedding_batch import embed_batch

# The number of paths in a task: enough to outweigh its start, but few enough to spread the last tasks evenly.
FILES_PER_TASK = 64

# Ray would infer another schema from a batch in which all recordings are bad.
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "embedding": pa.list_(pa.float32()),
        "speech_seconds": pa.float64(),
        "warnings": pa.list_(pa.string()),
        "model": pa.string(),
        "error": pa.string(),
    }
)


def embed_table(batch: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(embed_batch(batch), SCHEMA, preserve_index=False)


def main(folder: str, output: str, workers: str = "") -> None:
    here = str(pathlib.Path(__file__).parent)
    ray.init(**({"num_cpus": int(workers), "runtime_env": {"working_dir": here}} if workers else {}))
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.is_file())
    n_blocks = max(1, len(paths) // FILES_PER_TASK)
    table = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=n_blocks)
    table.map_batches(embed_table, batch_size=FILES_PER_TASK, batch_format="pandas").write_parquet(output)
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
