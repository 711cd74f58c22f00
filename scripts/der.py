"""Write the table of docs/diarization.md and docs/diarization.svg: how well `diarize` tells the speakers of conversations apart.

der.py BINARY PARITY_DATA: PARITY_DATA has `conversations/*.rttm` with the recordings, and `conversations/phone`. Diarization error rates are
those of pyannote.metrics, overlap counted. Exit status 1 if a number of speakers is wrong on the first set.
"""

import os
import pathlib
import subprocess
import sys
import time

from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

MODELS = ("resemblyzer", "campplus")

# As NIST counts: a quarter of a second before and behind each boundary is left out, which pyannote calls 0.5.
COLLARS = (0.5, 0.0)

# Where the table stands in the page.
BEGIN, END = "<!-- make der -->\n", "<!-- end -->\n"

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#999999")


def annotations(text):
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if fields and fields[0] == "SPEAKER":
            annotation = found.setdefault(fields[1], Annotation())
            start, length = float(fields[3]), float(fields[4])
            annotation[Segment(start, start + length), len(annotation)] = fields[7]
    return found


def diarized(binary, folder, model):
    begun = time.monotonic()
    command = [binary, "diarize", "--quiet", "--model", model, folder]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"WORKERS": "1"})
    return annotations(run.stdout), time.monotonic() - begun


def row(binary, folder, model):
    reference = annotations("".join(path.read_text() for path in sorted(folder.glob("*.rttm"))))
    hypothesis, seconds = diarized(binary, folder, model)
    cells = []
    for collar in COLLARS:
        metric = DiarizationErrorRate(collar=collar)
        for name in reference:
            metric(reference[name], hypothesis.get(name, Annotation()), uem=None)
        total = metric[:]
        cells += [100 * abs(metric), 100 * total["confusion"] / total["total"]]
    wrong = sum(len(reference[name].labels()) != len(hypothesis[name].labels()) for name in reference)
    audio = sum(reference[name].get_timeline().extent().end for name in reference)
    return cells, wrong, len(reference), seconds / audio, reference, hypothesis


def timeline(reference, hypothesis, name):
    """A picture: the turns of a conversation, as they are and as they are told."""
    end = reference[name].get_timeline().extent().end
    width, left, height = 1000, 90, 24
    rows = []
    pairs = DiarizationErrorRate().optimal_mapping(reference[name], hypothesis[name])
    own = {speaker: label for label, speaker in pairs.items()}
    y = 24
    for speaker, colour in zip(sorted(reference[name].labels()), COLOURS):
        for title, turns in ((f"{speaker}", reference[name].label_timeline(speaker)),
                             ("told", hypothesis[name].label_timeline(own[speaker]) if speaker in own else ())):
            rows.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{title}</text>')
            opacity = 1 if title != "told" else 0.55
            for turn in turns:
                x, length = left + turn.start / end * width, (turn.end - turn.start) / end * width
                rows.append(f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{height - 6}" '
                            f'fill="{colour}" fill-opacity="{opacity}"/>')
            y += height
        y += 8
    ticks = "".join(f'<text x="{left + s / end * width:.1f}" y="{y + 12}" text-anchor="middle">{s} s</text>'
                    for s in range(0, int(end) + 1, 10))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" height="{y + 24}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{left}" y="14">{name}: each speaker\'s turns, and below them what CAM++ tells</text>'
            f'{"".join(rows)}{ticks}</svg>\n')


def main():
    binary, data = sys.argv[1], pathlib.Path(sys.argv[2]) / "conversations"
    lines = ["| set | model | DER at ±0.25 s | confusion | DER at 0 s | confusion | wrong number of speakers | time, of the audio's |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    any_wrong = False
    for title, folder in (("conversations", data), ("telephone", data / "phone")):
        for model in MODELS:
            cells, wrong, n, factor, reference, hypothesis = row(binary, folder, model)
            any_wrong |= wrong > 0 and folder == data
            numbers = " | ".join(f"{cell:.2f}" for cell in cells)
            lines.append(f"| {title} | {model} | {numbers} | {wrong} of {n} | {factor:.4f} |")
            if model == "campplus" and folder == data:
                pathlib.Path("docs/diarization.svg").write_text(timeline(reference, hypothesis, "conv05"))
    text = "\n".join(lines) + "\n"
    page = pathlib.Path("docs/diarization.md")
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    print(text)
    sys.exit(any_wrong)


if __name__ == "__main__":
    main()
