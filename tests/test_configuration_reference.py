"""docs/configuration.md is what its script makes of the schema, and every key in it says what it means."""

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
from tiny import ROOT

from fourcast.compose import SCHEMAS


@dataclass
class Whole:
    """A schema of the test. one, two: like a pair. three, in metres: high. four says nothing."""

    one: int = 1
    two: list[str] | None = None
    three: float = 0.5
    four: bool = True
    five: str = "x"
    """Said below."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("configuration_reference")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def test_it_is_up_to_date(script: ModuleType) -> None:
    found, expected = (ROOT / "docs/configuration.md").read_text(encoding="utf-8"), script.reference()
    assert found == expected, "run: python scripts/configuration_reference.py"
    assert all(f"\n## {verb}\n" in expected for verb in SCHEMAS)


def test_every_key_has_a_meaning(script: ModuleType) -> None:
    assert script.undocumented() == []


def test_where_meanings_come_from(script: ModuleType) -> None:
    rows = script._tables(Whole, "a.")[0].splitlines()[2:]
    assert rows == [
        "| `a.one` | whole number | `1` | like a pair |",
        "| `a.two` | list of texts, null | `null` | like a pair |",
        "| `a.three` | number | `0.5` | in metres: high. four says nothing |",
        "| `a.four` | true, false | `true` |  |",
        "| `a.five` | text | `x` | Said below. |",
    ]
