"""Checks that text stays readable and true: line lengths, sentence lengths, links, files and commands. Prints the problems.

Lines of comments have at most 130 characters, and so do lines of Markdown outside of tables, code and links. Sentences of
README.md and docs/ have at most 35 words. Links lead to existing files and headings, and paths and make targets in code spans
exist.
"""

import functools
import pathlib
import re
import subprocess
import sys

MAX_CHARACTERS = 130
MAX_WORDS = 35

# Sentences that are lists of names rather than prose, by their beginning.
LONG_SENTENCES = ("- **Formats.** WAV,", "- **Layers.** A module")

# Paths in code spans that name what exists elsewhere: on a user's machine, in a container, in a cluster.
ROOTS = ("src/", "engine/", "python/", "docs/", "tests/", "scripts/", "deploy/", "examples/", "benches/", "fuzz/", "models/", "assets/")

COMMENT = {
    ".rs": re.compile(r"\s*//"), ".js": re.compile(r"\s*(//|/?\*)"), ".mjs": re.compile(r"\s*(//|/?\*)"), ".py": re.compile(r"\s*#"),
    ".toml": re.compile(r"\s*#"), ".yml": re.compile(r"\s*#"), ".yaml": re.compile(r"\s*#"), ".conf": re.compile(r"\s*#"),
}

ROOT = pathlib.Path(__file__).parents[1]
problems = []


def report(path, line, problem):
    problems.append(f"{path}:{line}: {problem}")


def tracked_files():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [pathlib.Path(name) for name in names if name and (ROOT / name).is_file()]


def outside_code(text):
    """Numbers and lines of Markdown. Lines of code blocks are empty."""
    is_code = False
    for number, line in enumerate(text.split("\n"), 1):
        is_code ^= line.lstrip().startswith("```")
        yield number, "" if is_code or line.lstrip().startswith("```") else line


def prose(text):
    """The same, with tables, HTML comments and indented code empty as well."""
    for number, line in outside_code(text):
        yield number, "" if line.lstrip().startswith(("|", "<!--")) or line.startswith("    ") else line


def check_lines(path, text):
    if path.suffix == ".md":
        lines = [(n, line) for n, line in prose(text) if not re.search(r"\]\([^)]*\)|https?://", line)]
    else:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if COMMENT[path.suffix].match(line)]
    for number, line in lines:
        if len(line) > MAX_CHARACTERS:
            report(path, number, f"the line has {len(line)} characters, at most {MAX_CHARACTERS} are allowed")


def paragraphs(text):
    """Paragraphs, list items and headings, each with its first line's number."""
    begun, lines = 1, []
    for number, line in [*prose(text), (0, "")]:
        is_item = re.match(r"\s*([-*] |\d+\. |#)", line)
        if lines and (not line.strip() or is_item):
            yield begun, " ".join(lines)
            lines = []
        if line.strip():
            begun = begun if lines else number
            lines.append(line.strip())


def check_sentences(path, text):
    for number, paragraph in paragraphs(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "Code", paragraph))
        for sentence in re.split(r"(?<=[.:?!;])\s+(?=[A-Z\[(*`])", plain):
            n_words = len(re.findall(r"\w[\w'.,-]*", sentence))
            if n_words > MAX_WORDS and not paragraph.startswith(LONG_SENTENCES):
                report(path, number, f"a sentence has {n_words} words, at most {MAX_WORDS} are allowed: {sentence[:70]}...")


@functools.cache
def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for _, line in outside_code(path.read_text()):
        if heading := re.match(r"#+ (.*)", line):
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def check_links(path, text):
    for number, line in outside_code(text):
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = ROOT / path.parent / name if name else ROOT / path
            if not target.exists():
                report(path, number, f"{link} does not exist")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                report(path, number, f"{name or path} has no heading #{anchor}")


def check_names(path, text, targets, commands):
    for number, line in enumerate(text.split("\n"), 1):
        for span in re.findall(r"`([^`]+)`", line):
            is_path = span.startswith(ROOTS) and re.fullmatch(r"[\w./-]+", span) and not re.search(r"[A-Z]{4}/|\.pt$", span)
            if is_path and not any((base / span).exists() for base in (ROOT, ROOT / "engine", ROOT / "python", ROOT / path.parent)):
                report(path, number, f"the file {span} does not exist")
        for target in re.findall(r"(?:`|^\s*|&& |=\S+ )make ([a-z][a-z-]*)", line):
            if target not in targets:
                report(path, number, f"the Makefile has no target {target}")
        for command in re.findall(r"voice-embedding-service ([a-z]+)(?: |`|$)", line):
            if command not in commands:
                report(path, number, f"the program has no command {command}")


def main():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    subcommands = re.search(r"enum Command \{(.*?)\n\}", (ROOT / "src/cli/mod.rs").read_text(), re.DOTALL)[1]
    commands = {name.lower() for name in re.findall(r"^    ([A-Z]\w*)\b", subcommands, re.MULTILINE)}
    for path in tracked_files():
        if path.suffix not in COMMENT and path.suffix != ".md" or path.parts[0] == "assets" and path.suffix != ".md":
            continue
        text = (ROOT / path).read_text()
        check_lines(path, text)
        if path.suffix == ".md":
            check_links(path, text)
            if path.name != "CHANGELOG.md":
                check_names(path, text, targets, commands)
            if path.parts[0] == "docs" or str(path) in ("README.md", "ARCHITECTURE.md"):
                check_sentences(path, text)
    architecture = (ROOT / "ARCHITECTURE.md").read_text().split("\n")
    if len(architecture) > 130 or max(map(len, architecture)) > MAX_CHARACTERS:
        report("ARCHITECTURE.md", 1, "the file has more than 130 lines, or a line of more than 130 characters")
    print("\n".join(problems))
    sys.exit(bool(problems))


main()
