"""Compares the output of `diarize` with references, and writes the table of docs/diarization.md and docs/diarization.svg.

Usage: der.py BINARY PARITY_DATA SETS. PARITY_DATA contains `conversations` and `meetings`. SETS is the folder in which
der_sets.py creates more sets. The command `score` computes the rates. The exit status is 1 if CAM++ finds a wrong number of
speakers in one of the conversations.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import der_sets

MODELS = ("campplus", "resemblyzer")

# Markers around the table in the page.
BEGIN, END = "<!-- make der -->\n", "<!-- end -->\n"

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#999999")

HEAD = ("set", "model", "DER", "missed, false alarm, confusion", "JER", "DER, ±0.25 s", "wrong number of speakers", "time, of the audio's")


def run(*command):
    environment = os.environ | {"WORKERS": "1"}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, env=environment).stdout


def score(binary, folder, found, collar):
    return json.loads(run(binary, "score", "--format", "json", "--collar", collar, "--reference", folder, found))


def row(binary, title, folder, model, found):
    begun = time.monotonic()
    found.write_text(run(binary, "diarize", "--quiet", "--model", model, folder))
    seconds = time.monotonic() - begun
    exact, forgiving = score(binary, folder, found, 0), score(binary, folder, found, 0.25)
    everything = exact["all"]
    parts = ", ".join(f"{everything[name]:.1f}" for name in ("missed", "false_alarm", "confusion"))
    audio = sum(turns[-1][2] for path in folder.glob("*.rttm") if (turns := sorted(der_sets.annotation(path), key=lambda t: t[2])))
    wrong = exact["wrong_speaker_counts"]
    cells = (title, model, f"{everything['error_rate']:.1f}", parts, f"{everything['jaccard_error_rate']:.1f}",
             f"{forgiving['all']['error_rate']:.1f}", f"{wrong} of {len(exact['recordings'])}", f"{seconds / audio:.4f}")
    return cells, wrong


def together(a, b):
    """Returns the seconds that two lists of turns have in common."""
    return sum(max(0, min(x[1], y[1]) - max(x[0], y[0])) for x in a for y in b)


def timeline(reference, found, name):
    """Draws the turns of a conversation: each speaker's reference, and below it the turns that were found."""
    def by_speaker(turns):
        speakers = {}
        for who, start, end in turns:
            speakers.setdefault(who, []).append((start, end))
        return speakers

    reference, found = by_speaker(reference), by_speaker(found)
    end = max(turn[1] for turns in reference.values() for turn in turns)
    width, left, height = 1000, 90, 24
    rows, y = [], 24
    for (speaker, turns), colour in zip(sorted(reference.items()), COLOURS):
        told = max(found.values(), key=lambda other: together(turns, other), default=())
        for title, own in ((speaker, turns), ("found", told)):
            rows.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{title}</text>')
            opacity = 0.55 if title == "found" else 1
            for start, stop in own:
                rows.append(f'<rect x="{left + start / end * width:.1f}" y="{y}" width="{(stop - start) / end * width:.1f}" '
                            f'height="{height - 6}" fill="{colour}" fill-opacity="{opacity}"/>')
            y += height
        y += 8
    ticks = "".join(f'<text x="{left + s / end * width:.1f}" y="{y + 12}" text-anchor="middle">{s} s</text>'
                    for s in range(0, int(end) + 1, 10))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" height="{y + 24}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{left}" y="14">{name}: each speaker\'s turns, and below them those that CAM++ finds</text>'
            f'{"".join(rows)}{ticks}</svg>\n')


def main():
    binary, data, made = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    if not made.is_dir():
        der_sets.make(data, made)
    sets = [("conversations", data / "conversations"), ("conversations, 8 kHz mu-law", data / "conversations/phone"),
            ("meetings (AMI)", data / "meetings")]
    sets += [(folder.name.replace("-", " "), folder) for folder in sorted(made.iterdir())]
    lines = [f"| {' | '.join(HEAD)} |", "| --- " * len(HEAD) + "|"]
    any_wrong = False
    found = made.with_suffix(".rttm")
    for title, folder in sets:
        for model in MODELS:
            cells, wrong = row(binary, title, folder, model, found)
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            any_wrong |= wrong > 0 and title == "conversations" and model == "campplus"
            if model == "campplus" and title == "conversations":
                name = "conv05"
                told = [line.split() for line in found.read_text().splitlines()]
                told = [(f[7], float(f[3]), float(f[3]) + float(f[4])) for f in told if f[1] == name]
                picture = timeline(der_sets.annotation(folder / f"{name}.rttm"), told, name)
                pathlib.Path("docs/diarization.svg").write_text(picture)
    page = pathlib.Path("docs/diarization.md")
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.partition(END)[2])
    sys.exit(any_wrong)


if __name__ == "__main__":
    main()
