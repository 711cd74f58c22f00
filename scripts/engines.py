"""Runs the package's examples for Spark and Ray on many files and compares the results with those of the command line.

Usage: engines.py SERVICE [FILES]. SERVICE is the service's binary. The script prints how many files per second each engine
embeds with one and with two workers. It prints the time for the engine's own start and end separately; a run on one file
measures it. Needs the package, pyspark with Java, and ray.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from pieces import write_pieces

EXAMPLES = pathlib.Path("python/examples")


def by_the_command_line(service: str, folder: pathlib.Path) -> tuple[dict[str, np.ndarray], list[str]]:
    # The exit status is not checked, because one file is meant to fail.
    done = subprocess.run(
        [service, "embed", "--quiet", str(folder)], capture_output=True, text=True, env={**os.environ, "ENCODER": "native"}
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    good = {pathlib.Path(row["path"]).name: np.array(row["embedding"], np.float32) for row in rows if "embedding" in row}
    return good, re.findall(r"(\d{4}\.wav)", done.stderr)


def compare(output: str, expected: dict[str, np.ndarray], bad: str) -> None:
    table = pd.read_parquet(output)
    assert len(table) == len(expected) + 1, len(table)
    names = [pathlib.Path(path).name for path in table["path"]]
    errors = {name: error for name, error in zip(names, table["error"]) if isinstance(error, str)}
    assert errors == {bad: "unsupported_audio"}, errors
    good = {name: embedding for name, embedding in zip(names, table["embedding"]) if name not in errors}
    assert good.keys() == expected.keys()
    worst = max(float(np.abs(good[name] - expected[name]).max()) for name in good)
    assert worst < 1e-6, worst


def run(engine: str, folder: pathlib.Path, output: str, workers: str) -> float:
    """Runs an example and returns the seconds that it takes."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{engine}_embed.py", folder, output, workers], capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - begun


def main(service: str, n_files: str = "500") -> None:
    n = int(n_files)
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory, "recordings")
        write_pieces(folder, n, 4.0)[n // 4].write_bytes(b"no recording")
        single = pathlib.Path(directory, "single")
        single.mkdir()
        shutil.copy(folder / "0000.wav", single)
        expected, failed = by_the_command_line(service, folder)
        assert len(expected) == n - 1 and failed == [f"{n // 4:04}.wav"], (len(expected), failed)
        for engine in ("spark", "ray"):
            for workers in ("1", "2"):
                output = str(pathlib.Path(directory, f"{engine}-{workers}"))
                start = run(engine, single, f"{output}-single", workers)
                seconds = run(engine, folder, output, workers)
                compare(output, expected, failed[0])
                rate = (n - 1) / (seconds - start)
                print(f"{engine}, workers: {workers}; {rate:.0f} files per second, plus {start:.1f} s to start and stop", flush=True)


main(*sys.argv[1:])
