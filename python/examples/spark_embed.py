"""Embeds the recordings of a folder with Spark: spark_embed.py FOLDER OUTPUT [WORKERS].

Writes Parquet with a row for each recording. With WORKERS it runs on this machine, otherwise on the cluster of `spark-submit`.
Workers need the package and access to the paths.
"""

import os
import pathlib
import sys
from collections.abc import Iterator

import pandas as pd
from embedding_batch import SCHEMA, embed_batch
from pyspark.sql import SparkSession

# The number of paths in a task: enough to outweigh its start, but few enough to spread the last tasks evenly.
FILES_PER_TASK = 64


def embed_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    return map(embed_batch, batches)


def main(folder: str, output: str, workers: str = "") -> None:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", FILES_PER_TASK)
    spark = (builder.master(f"local[{workers}]") if workers else builder).getOrCreate()
    spark.sparkContext.addPyFile(str(pathlib.Path(__file__).with_name("embedding_batch.py")))
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.is_file())
    n_tasks = max(1, len(paths) // FILES_PER_TASK)
    table = spark.createDataFrame([(path,) for path in paths], "path string").repartition(n_tasks)
    table.mapInPandas(embed_batches, SCHEMA).write.mode("overwrite").parquet(output)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
