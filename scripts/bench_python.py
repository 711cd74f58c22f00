"""Compares the speed of the Python package with Resemblyzer's, and writes the table of docs/performance.md.

Usage: bench_python.py [ROUNDS]. A program written for Resemblyzer embeds the same files with each package in turn, on one
thread. On two threads, `embed_files` takes turns with Resemblyzer on two PyTorch threads. Each run has a process of its own.
The table has the medians of the rounds, and the minimum and maximum of the ratios. Needs both packages.
"""

import datetime
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile

from pieces import write_pieces

PERFORMANCE = pathlib.Path("docs/performance.md")

# The number of files by their length in seconds.
CLIPS = {2: 200, 5: 100, 15: 40}

# A program that prints two durations in seconds: from its first import to the first embedding, and for all files.
PROGRAM = """
import json, sys, time
begun = time.perf_counter()
name, threads, warm, *paths = sys.argv[1:]
if name == "resemblyzer":
    import torch
    torch.set_num_threads(int(threads))
    import resemblyzer as package
else:
    import voice_embedding as package

def embed(paths):
    if name == "embed_files":
        return [result.embedding for result in package.embed_files(paths, threads=int(threads))]
    return [encoder.embed_utterance(package.preprocess_wav(path)) for path in paths]

encoder = package.VoiceEncoder("cpu", verbose=False)
embed([warm])
started = time.perf_counter()
embedded = embed(paths)
assert len(embedded) == len(paths)
print(json.dumps([started - begun, time.perf_counter() - started]))
"""


def run(name: str, threads: int, files: list[pathlib.Path]) -> tuple[float, float]:
    """Returns the seconds from import to first embedding, and those for all files."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, name, str(threads), str(files[0]), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    start, seconds = json.loads(done.stdout.splitlines()[-1])
    return start, seconds


def told(ours: list[float], theirs: list[float]) -> str:
    ratios = sorted(b / a for a, b in zip(ours, theirs))
    return f"x {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def rows(rounds: int) -> list[str]:
    cases = [("resemblyzer", 1), ("voice_embedding", 1), ("resemblyzer", 2), ("embed_files", 2)]
    lines, starts = [], {name: [] for name, _ in cases}
    with tempfile.TemporaryDirectory() as directory:
        for seconds, n_files in CLIPS.items():
            files = write_pieces(pathlib.Path(directory, str(seconds)), n_files, seconds)
            times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
            for _ in range(rounds):
                for case in cases:
                    start, took = run(*case, files)
                    starts[case[0]].append(start)
                    times[case].append(took)
            one, same, two, both = (times[case] for case in cases)
            rate = n_files / statistics.median(one)
            rate_of_two = n_files / statistics.median(two)
            lines.append(
                f"| {seconds} s clips per second | {rate:.1f} | {told(same, one)} | {rate_of_two:.1f} | {told(both, two)} |"
            )
            hours = n_files * seconds / statistics.median(same)
            print(f"{seconds} s clips: {hours:.0f} hours of audio per hour and core", flush=True)
    theirs, ours = (statistics.median(starts[name]) for name in ("resemblyzer", "voice_embedding"))
    lines.append(f"| import to first embedding | {theirs:.2f} s | {ours:.2f} s | | |")
    return lines


def cpu() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found.group(1) if found else platform.machine()


def main(rounds: int = 5) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    table = [
        f"{cpu()}, {datetime.date.today()}, commit {commit}, `make bench-python`: medians of {rounds} rounds (minimum to maximum).",
        "",
        "| | Resemblyzer, one thread | the same program with `voice_embedding` | Resemblyzer, two threads | `embed_files`, two threads |",
        "| --- | --- | --- | --- | --- |",
        *rows(rounds),
    ]
    text = PERFORMANCE.read_text()
    begin, end = "<!-- bench-python -->\n", "<!-- end of bench-python -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    PERFORMANCE.write_text(before + begin + "\n".join(table) + "\n" + end + after)
    print("\n".join(table))


main(*map(int, sys.argv[1:]))
