"""Compares the events of `live` while a recording plays with reference annotations, and writes the tables of docs/live.md.

Usage: live.py BINARY PARITY_DATA SETS. PARITY_DATA contains `conversations` and `meetings`. SETS is the folder in which
der_sets.py creates more sets. The script plays recordings as fast as possible, so the time of an event is the amount of
audio that had been sent before it. The command `score` computes the rates.
"""

import collections
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

import der_sets
import soundfile

MODELS = ("campplus", "resemblyzer")
LATENCIES = (2, 5, 10)

# Seconds between two comparisons of the current speakers.
STEP = 0.02

# A label that is wrong for more seconds than this is counted.
WRONG_SECONDS = 5

# Seconds of speech with which a speaker is enrolled.
ENROLLED_SECONDS = 15

BEGIN, END = "<!-- make live -->\n", "<!-- end -->\n"


def run(*command, env=()):
    environment = os.environ | {"WORKERS": "1"} | dict(env)
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, env=environment).stdout


def session(binary, model, path, *options, env=()):
    """Runs a session and returns its events and its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = run(binary, "live", "--format", "jsonl", "--speed", "0", "--model", model, *options, path, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [json.loads(line) for line in lines.splitlines()], seconds


def state_after(events, latency, duration):
    """Returns the current labels for each step, according to the events up to `latency` seconds later."""
    turns, place, said = {}, 0, []
    for step in range(int(duration / STEP)):
        at = (step + 0.5) * STEP
        while place < len(events) and events[place]["received"] <= max(at + latency, 0):
            event = events[place]
            if event["type"] == "turn":
                turns[event["id"]] = event
            place += 1
        said.append({turn["label"] for turn in turns.values() if turn["start"] <= at < turn["end"]})
    return said


def rttm(name, said):
    """Converts the labels of all steps to lines of RTTM."""
    lines, since = [], {}
    for step, labels in enumerate([*said, set()]):
        for label in [label for label in since if label not in labels]:
            start = since.pop(label) * STEP
            lines.append(f"SPEAKER {name} 1 {start:.3f} {step * STEP - start:.3f} <NA> <NA> {label} <NA> <NA>\n")
        for label in labels:
            since.setdefault(label, step)
    return "".join(lines)


def score(binary, folder, text):
    with tempfile.NamedTemporaryFile("w", suffix=".rttm") as file:
        file.write(text)
        file.flush()
        return json.loads(run(binary, "score", "--format", "json", "--reference", folder, file.name))["all"]["error_rate"]


def speakers_at(turns, at):
    return {who for who, start, end in turns if start <= at < end}


def wrong_labels(said, turns):
    """Counts stretches of more than WRONG_SECONDS of one person's speech under a label that mostly belongs to another person."""
    together = collections.Counter()
    alone = []
    for step, labels in enumerate(said):
        who = speakers_at(turns, (step + 0.5) * STEP)
        pair = (*labels, *who) if len(labels) == len(who) == 1 else None
        alone.append(pair)
        together[pair] += 1
    owner = {label: max((count, who) for (other, who), count in pairs.items() if other == label)[1]
             for pairs in [{pair: n for pair, n in together.items() if pair}] for label, _ in pairs}
    n, run_of = 0, 0
    for pair in [*alone, ("", "")]:
        if pair is None:
            continue
        is_wrong = pair in together and owner.get(pair[0]) != pair[1]
        if is_wrong:
            run_of += 1
        else:
            n += run_of * STEP > WRONG_SECONDS
            run_of = 0
    return n


def latencies(events):
    """Returns for each tenth of a second in a turn the seconds of audio until a turn covered it."""
    covered, found = set(), []
    for event in events:
        if event["type"] == "turn":
            for step in range(int(event["start"] / 0.1) + 1, int(event["end"] / 0.1)):
                if step not in covered:
                    covered.add(step)
                    found.append(event["received"] - step * 0.1)
    return found


def measure(binary, title, folder, model, idle):
    known = {path.stem: der_sets.annotation(path) for path in folder.glob("*.rttm")}
    texts, offline, late = collections.defaultdict(str), "", []
    labels, people, wrong, cpu, audio, merged = 0, 0, 0, 0.0, 0.0, 0
    for name, turns in sorted(known.items()):
        path = next(path for path in folder.glob(f"{name}.*") if path.suffix != ".rttm")
        events, seconds = session(binary, model, path)
        duration = events[-1]["audio"]["duration_seconds"]
        cpu, audio = cpu + max(seconds - idle, 0), audio + duration
        for latency in LATENCIES:
            said = state_after(events, latency, duration)
            texts[latency] += rttm(name, said)
            if latency == 5:
                wrong += wrong_labels(said, turns)
        for turn in events[-1]["segments"]:
            length = turn["end"] - turn["start"]
            offline += f"SPEAKER {name} 1 {turn['start']:.3f} {length:.3f} <NA> <NA> {turn['label']} <NA> <NA>\n"
        late += latencies(events)
        merged += sum(event["type"] == "merged" for event in events)
        labels += len({event["label"] for event in events if event["type"] == "turn"})
        people += len({who for who, *_ in turns})
    rates = [score(binary, folder, offline)] + [score(binary, folder, texts[latency]) for latency in LATENCIES]
    late.sort()
    cells = (title, model, *(f"{rate:.1f}" for rate in rates), f"{labels - merged} ({people})", str(wrong),
             f"{late[len(late) // 2]:.1f}, {late[len(late) * 95 // 100]:.1f}", f"{1e3 * cpu / audio:.1f}")
    return cells


def naming(binary, folder, model):
    """Plays each recording after enrolling all its speakers but one from other recordings; returns a row of the second table."""
    known = {path.stem: der_sets.annotation(path) for path in sorted(folder.glob("*.rttm"))}
    people = sorted({who for turns in known.values() for who, *_ in turns})
    until_named, missed, strangers, searched = [], 0, 0, 0
    for number, (name, turns) in enumerate(known.items()):
        stranger = sorted({who for who, *_ in turns})[number % len({who for who, *_ in turns})]
        with tempfile.TemporaryDirectory() as place:
            env = {"DATABASE_URL": f"sqlite:{place}/speakers.db"}
            for who in people:
                others = [(other, of) for other, of in known.items() if other != name and any(turn[0] == who for turn in of)]
                if who == stranger or not others:
                    continue
                other, of = others[0]
                samples, rate = soundfile.read(folder / f"{other}.flac")
                own = [samples[int(start * rate):int(end * rate)] for speaker, start, end in of if speaker == who]
                voice = [sample for part in own for sample in part][: ENROLLED_SECONDS * rate]
                soundfile.write(f"{place}/{who}.wav", voice, rate)
                run(binary, "speakers", "enrol", "--model", model, "--collection", "team", who, f"{place}/{who}.wav", env=env)
            events, _ = session(binary, model, folder / f"{name}.flac", "--collection", "team", env=env)
        said = state_after(events, 10, events[-1]["audio"]["duration_seconds"])
        owners = collections.defaultdict(collections.Counter)
        for step, labels in enumerate(said):
            for label in labels:
                owners[label].update(speakers_at(turns, (step + 0.5) * STEP))
        named = {}
        for event in events:
            if event["type"] == "speaker" and event["speaker"]:
                who = owners[event["label"]].most_common(1)
                if who and who[0][0] == event["speaker"]:
                    named.setdefault(event["speaker"], event["received"])
                else:
                    strangers += 1
        searched += 1
        for who in {who for who, *_ in turns} - {stranger}:
            if who in named:
                spoken = sum(max(0, min(end, named[who]) - start) for speaker, start, end in turns if speaker == who)
                until_named.append(spoken)
            else:
                missed += 1
    until_named.sort()
    return (model, f"{statistics.median(until_named):.1f}, {until_named[len(until_named) * 95 // 100]:.1f}",
            f"{missed} of {missed + len(until_named)}", f"{strangers} in {searched} recordings")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main():
    binary, data, made = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    if not made.is_dir():
        der_sets.make(data, made)
    sets = [("conversations", data / "conversations"), ("conversations, 8 kHz mu-law", data / "conversations/phone"),
            ("meetings (AMI)", data / "meetings"), ("long", made / "long"), ("overlap", made / "overlap")]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        soundfile.write(f"{place}/short.wav", [0.0] * 16, 16_000)
        idle = {model: statistics.median(session(binary, model, f"{place}/short.wav")[1] for _ in range(3)) for model in MODELS}
    for title, folder in sets:
        for model in MODELS:
            rows.append(measure(binary, title, folder, model, idle[model]))
            print(*rows[-1], sep=" | ", flush=True)
    head = ("set", "model", "DER of the file", *(f"after {latency} s" for latency in LATENCIES), "labels (people)",
            f"wrong for more than {WRONG_SECONDS} s", "latency, median and 95 %, s", "CPU, ms per second")
    names = [naming(binary, data / "conversations", model) for model in MODELS]
    for row in names:
        print(*row, sep=" | ", flush=True)
    head_of_names = ("model", "speech until named, median and 95 %, s", "not named", "strangers named")
    page = pathlib.Path("docs/live.md")
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table(head, rows) + "\n" + table(head_of_names, names) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
