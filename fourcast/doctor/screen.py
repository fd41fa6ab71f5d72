"""Findings on a terminal, a line each with what to do below it, and as one JSON document."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fourcast import __version__
from fourcast.doctor.finding import ABSENT, FAILED, OK, POOR, Finding

WIDTH = 100
GROUP, MARK, NAME = 9, 6, 17
MARKS = {OK: "ok", POOR: "poor", ABSENT: "-", FAILED: "FAIL"}
COLOURS = {OK: "32", POOR: "33", ABSENT: "90", FAILED: "1;31"}
LINES = 2
"""At most, of what was found."""
SCHEMA = 1


@dataclass(frozen=True)
class Grouped:
    """A finding and the group it belongs to."""

    group: str
    finding: Finding


def lines(one: Grouped, first: bool, colour: bool) -> list[str]:
    """The lines of a finding; the first of a group names it."""
    finding, left = one.finding, GROUP + MARK + NAME
    mark = f"{MARKS[finding.status]:{MARK}}"
    if colour:
        mark = f"\x1b[{COLOURS[finding.status]}m{mark}\x1b[0m"
    texts = _wrapped(finding.found, WIDTH - left, LINES)
    head = f"{one.group if first else '':{GROUP}}{mark}{finding.name:{NAME}}{texts[0]}"
    remedies = _wrapped(finding.remedy, WIDTH - GROUP - MARK - 2, None) if finding.remedy else []
    arrows = [f"{' ' * (GROUP + MARK)}{'> ' if i == 0 else '  '}{text}" for i, text in enumerate(remedies)]
    return [head, *(" " * left + text for text in texts[1:]), *arrows]


def _wrapped(text: str, width: int, most: int | None) -> list[str]:
    cut = most is not None  # commands stay whole, to be copied
    return textwrap.wrap(
        text, width, max_lines=most, placeholder=" …", break_long_words=cut, break_on_hyphens=False
    ) or [""]


def verdict(found: Sequence[Grouped], seconds: float) -> str:
    """The last words."""
    names = {status: [one.finding.name for one in found if one.finding.status == status] for status in (FAILED, POOR)}
    took = f"{len(found)} checks in {seconds:.1f} s"
    if names[FAILED]:
        words = f"does not work yet: {', '.join(names[FAILED])} ({took}); see the lines that begin with >"
        return textwrap.fill(words, WIDTH)
    if names[POOR]:
        return textwrap.fill(f"works, though poorly: {', '.join(names[POOR])} ({took})", WIDTH)
    return f"works ({took})"


def works(found: Iterable[Grouped]) -> bool:
    """Whether nothing that is needed fails."""
    return all(one.finding.status != FAILED for one in found)


def document(found: Sequence[Grouped], seconds: float) -> dict[str, Any]:
    """All of it for machines.

    schema: raised when a key changes its meaning. works: as the exit status says. findings: each with group, name,
    status (ok, poor, absent, failed), found, remedy ("" for none) and figures (numbers by name, null where not finite).
    """
    findings = [
        {
            "group": one.group,
            "name": one.finding.name,
            "status": one.finding.status,
            "found": one.finding.found,
            "remedy": one.finding.remedy,
            "figures": {name: n if math.isfinite(n) else None for name, n in one.finding.figures.items()},
        }
        for one in found
    ]
    return {
        "schema": SCHEMA,
        "fourcast": __version__,
        "works": works(found),
        "seconds": round(seconds, 2),
        "findings": findings,
    }
