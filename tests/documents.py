"""The documents of the project: their blocks of commands, what these say to fourcast, paths and links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tiny import ROOT

from fourcast.cli import SUBJECTS, VERBS

PLACES = ("*.md", "docs/*.md", "docker/**/*.md", "fourcast/**/*.md")
DOCUMENTS = [path for place in PLACES for path in sorted(ROOT.glob(place))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SHELL = re.compile(r"'[^']*'|\$\([^)]*\)|\$\{[^}]*\}|\$\w+")
FOLDERS = "scripts|docker|conf|docs|tests|fourcast|benchmarks"
NAMED = re.compile(rf"(?<![\w/.~}}-])(?:{FOLDERS})/[\w./-]*[\w/]")
SWEEP = ("-m", "--multirun")
PREFIX = "experiment="


@dataclass(frozen=True)
class Block:
    """A block of commands. needs: what it takes that is not at hand; run_by: the test that runs it elsewhere."""

    text: str
    needs: str | None
    run_by: str | None


@dataclass(frozen=True)
class Command:
    """What follows ``fourcast``: a verb, its overrides as Hydra takes them, whether they sweep."""

    verb: str
    overrides: tuple[str, ...]


def blocks(document: Path) -> list[Block]:
    """The blocks that are marked as bash."""
    found = [text for language, text in FENCED.findall(document.read_text(encoding="utf-8")) if language == "bash"]
    return [Block(text, _mark(text, "needs"), _mark(text, "run by")) for text in found]


def _mark(text: str, kind: str) -> str | None:
    first = text.split("\n", 1)[0]
    return first.removeprefix(f"# {kind}: ") if first.startswith(f"# {kind}: ") else None


def commands(text: str) -> list[Command]:
    """What a block says to fourcast, also behind srun, torchrun, docker, and as arguments of a batch script."""
    lines = SHELL.sub(_replaced, text).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        for part in _split(shlex.split(line, comments=True)):
            found += [_command(part, i) for i in range(len(part)) if _is_verb(part, i)]
    return found


def _replaced(match: re.Match[str]) -> str:
    """Variables and substitutions of the shell as the word 1; what stands in single quotes as it is."""
    return match[0] if match[0].startswith("'") else "1"


def _split(words: list[str]) -> list[list[str]]:
    """Commands that stand on one line."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "||", "|", ";", "&", "done", "do"):
            parts.append([])
        else:
            parts[-1].append(word.rstrip(";"))
    return parts


def _is_verb(words: list[str], i: int) -> bool:
    """Whether word ``i`` is a verb behind fourcast or the service torchrun, or what is named after one."""
    if Path(words[i]).suffix == ".sbatch":
        return Path(words[i]).stem in VERBS
    before = [Path(word).name for word in words[:i]]
    return words[i] in VERBS and (before[-1:] in (["fourcast"], ["torchrun"]) or before[-2:] == ["run", "--rm"])


def _command(words: list[str], i: int) -> Command:
    verb, rest = Path(words[i]).stem, words[i + 1 :]
    sweeps = bool(set(SWEEP) & set(rest))
    group = "train" if verb == "plan" else verb
    overrides: list[str] = []
    for n, word in enumerate(rest):
        if word in (">", ">>", "2>&1"):
            break
        if n == 0 and verb in SUBJECTS and "=" not in word and not word.startswith("-"):
            word = f"{SUBJECTS[verb]}={word}"
        if "=" in word and not word.startswith("-"):
            preset = f"+experiment/{group}=" + word.removeprefix(PREFIX) if word.startswith(PREFIX) else word
            overrides.append(_first(preset) if sweeps else preset)
    return Command(verb, tuple(overrides))


def _first(override: str) -> str:
    """The first of the values of a sweep."""
    key, value = override.split("=", 1)
    return override if value[:1] in "[{'\"" else f"{key}={value.split(',')[0]}"


def inline(document: Path) -> list[str]:
    """What stands in backticks outside of blocks, in one line."""
    return INLINE.findall(FENCED.sub("", document.read_text(encoding="utf-8")))


def named_paths(document: Path) -> set[str]:
    """Paths of the project that blocks and backticks name."""
    texts = [block.text for block in blocks(document)] + inline(document)
    return {path for text in texts for path in NAMED.findall(text)}


def broken_links(document: Path) -> list[str]:
    """Relative links of a document that lead nowhere."""
    found = LINK.findall(FENCED.sub("", document.read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link and not _leads(document, link)]


def _leads(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = document if not path else (document.parent / path).resolve()
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
