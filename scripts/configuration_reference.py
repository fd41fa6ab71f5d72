"""Write docs/configuration.md from the dataclasses of the schema and the files under conf/.

    python scripts/configuration_reference.py            # writes docs/configuration.md
    python scripts/configuration_reference.py --check    # exit status 1 where it is out of date

A key's meaning comes from the code that defines it: the string under the field, or else the part of the dataclass's
docstring that begins with the key's name and a colon. configuration_words.py has the rest.
"""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from configuration_words import WORDS
from omegaconf import MISSING

from fourcast.compose import SCHEMAS, conf_directory
from fourcast.mixer_config import MIXERS

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
TYPES = {
    "Any": "any",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true, false",
    "list[int]": "list of whole numbers",
    "list[float]": "list of numbers",
    "list[str]": "list of texts",
    "dict[str, Any]": "dictionary",
    "dict[str, float]": "dictionary of numbers",
    "dict[str, str]": "dictionary of texts",
}
INTRODUCTION = """# Configuration reference

Every key of every verb, made from the schema by `python scripts/configuration_reference.py`; do not edit by hand.

A configuration is composed by [Hydra](https://hydra.cc) from the schema's defaults, the files under `conf/`, an
experiment, and the command line, of which the later wins. `fourcast VERB --help` prints the keys of a verb,
`fourcast VERB --cfg job` the composed configuration. An unknown key or a wrong type is refused by name before anything
is read. `null` means: not given. `???` means: must be given. `any` means: one value, or several as in `[a,b]`, or what
the meaning says.

On the command line a dictionary is added with a plus, as in `+loss.channel_weights={z: 2, t850: 0.5}`."""


def main() -> None:
    """Write the reference, or say that it is out of date."""
    text = reference()
    if "--check" not in sys.argv:
        DOCUMENT.write_text(text, encoding="utf-8")
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        sys.exit(f"{DOCUMENT.name} is out of date; run: python scripts/configuration_reference.py")


def reference() -> str:
    """The whole document."""
    verbs = [_verb(verb, schema) for verb, schema in SCHEMAS.items()]
    return "\n\n".join([INTRODUCTION, _groups(), *verbs, _mixers()]) + "\n"


def undocumented() -> list[str]:
    """Keys of the schema whose meaning nothing tells."""
    keys = {pair for schema in (*SCHEMAS.values(), *MIXERS.values()) for pair in _keys(schema)}
    return sorted(f"{owner.__name__}.{key}" for owner, key in keys if not _meaning(owner, key))


def _keys(schema: type) -> Iterator[tuple[type, str]]:
    """(dataclass, field name) of ``schema`` and of the dataclasses inside it."""
    for field in dataclasses.fields(schema):
        inner = _section(field)
        if inner is None:
            yield schema, field.name
        else:
            yield from _keys(inner)


def _verb(verb: str, schema: type) -> str:
    lines = [f"## {verb}", _summary(schema)]
    lines += _tables(schema, "") if verb != "plan" else _plan_tables(schema)
    return "\n\n".join(lines)


def _plan_tables(schema: type) -> list[str]:
    """Only what plan adds to train."""
    known = {field.name for field in dataclasses.fields(SCHEMAS["train"])}
    own = [field for field in dataclasses.fields(schema) if field.name not in known]
    return ["The keys of [train](#train), and:", _table(schema, own, "")]


def _tables(schema: type, prefix: str) -> list[str]:
    """A table of the keys of ``schema`` that are values, then the tables of its sections."""
    fields = dataclasses.fields(schema)
    parts = [_table(schema, [field for field in fields if _section(field) is None], prefix)]
    for field in fields:
        inner = _section(field)
        if inner is None:
            continue
        if f"{prefix}{field.name}" == "model.mixer":
            parts += ["### model.mixer", "The keys of the [mixer](#mixers) that `mixer=` names."]
        else:
            parts += [f"### {prefix}{field.name}", _summary(inner), *_tables(inner, f"{prefix}{field.name}.")]
    return parts


def _mixers() -> str:
    parts = ["## Mixers", "Chosen by `mixer=NAME`; their keys lie under `model.mixer`."]
    for name, schema in MIXERS.items():
        fields = [field for field in dataclasses.fields(schema) if field.name != "name"]
        parts += [f"### mixer={name}", _summary(schema)]
        rows = [field for field in fields if _section(field) is None]
        parts += [_table(schema, rows, "model.mixer.")] if rows else []
        for field in fields:
            inner = _section(field)
            if inner is not None:
                default = field.default_factory() if callable(field.default_factory) else None
                parts.append(_table(inner, list(dataclasses.fields(inner)), f"model.mixer.{field.name}.", default))
    return "\n\n".join(parts)


def _table(schema: type, fields: list[Any], prefix: str, values: object = None) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in fields:
        default = getattr(values, field.name) if values is not None else _default(field)
        cells = (f"`{prefix}{field.name}`", _type(field), f"`{_shown(default)}`", _meaning(schema, field.name))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _section(field: Any) -> type | None:
    """The dataclass that a field is, or None."""
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
        return field.type
    return None


def _default(field: Any) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else MISSING


def _type(field: Any) -> str:
    """The type in words."""
    text = str(field.type) if "[" in str(field.type) or "|" in str(field.type) else field.type.__name__
    text = text.replace("typing.", "").removesuffix(" | None")
    optional = ", null" if str(field.type).endswith(" | None") else ""
    return TYPES.get(text, text) + optional


def _shown(value: object) -> str:
    """A default as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_shown(item) for item in value) + "]"
    return str(value)


def _summary(schema: type) -> str:
    """The first paragraph of a docstring on one line, without what it says of keys in particular."""
    text = inspect.cleandoc(schema.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`")


def _meaning(schema: type, key: str) -> str:
    """What is said of a key: under the field, in words for its class, in the docstring, in words for its name."""
    owners = [owner for owner in schema.__mro__ if dataclasses.is_dataclass(owner)]
    said = [_literals(owner).get(key, "") for owner in owners]
    said += [WORDS.get(f"{owner.__name__}.{key}", "") for owner in owners]
    said += [_described(owner).get(key, "") for owner in owners]
    return next(filter(None, said), WORDS.get(key, ""))


@cache
def _literals(schema: type) -> dict[str, str]:
    """The string literals that stand under fields, by field."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(schema))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, words in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant) and isinstance(words.value.value, str):
            found[field.target.id] = " ".join(words.value.value.split())
    return found


@cache
def _described(schema: type) -> dict[str, str]:
    """What a docstring says behind ``key:`` or ``key, key:``, by key, each up to the next such place."""
    names = {field.name for field in dataclasses.fields(schema)}
    text = " ".join(inspect.cleandoc(schema.__doc__ or "").split()).replace("``", "`")
    pattern = re.compile(r"(?:^|(?<=[.;)] ))((?:\w+)(?:(?:, | … )\w+)*)(, [^.:;]*)?: ")
    places = [found for found in pattern.finditer(text) if set(re.split(", | … ", found[1])) <= names]
    described = {}
    for place, after in zip(places, [*places, None][1:], strict=True):
        words = text[place.end() : after.start() if after else None].strip().rstrip(".;")
        for name in re.split(", | … ", place[1]):
            described[name] = (place[2] or "").removeprefix(", ").strip() + (": " if place[2] else "") + words
    return described


def _groups() -> str:
    """The files under conf/, by group, and the experiments."""
    conf = conf_directory()
    rows = ["## Files", "| group | chosen by | files |", "|---|---|---|"]
    for folder in sorted(path for path in conf.iterdir() if path.is_dir() and path.name != "experiment"):
        names = ", ".join(f"`{path.stem}`" for path in sorted(folder.glob("*.yaml")))
        rows.append(f"| `conf/{folder.name}/` | `{folder.name}=NAME` | {names} |")
    table = "\n".join([rows[1], rows[2], *rows[3:]])
    rows = ["| experiment | has presets for |", "|---|---|"]
    presets = sorted(conf.glob("experiment/*/*.yaml"))
    for name in sorted({path.stem for path in presets}):
        verbs = [path.parent.name for path in presets if path.stem == name]
        rows.append(f"| `{name}` | {', '.join(f'[{verb}](../conf/experiment/{verb}/{name}.yaml)' for verb in verbs)} |")
    return "\n\n".join(["## Files", table, "`experiment=NAME` loads the verb's preset of that name.", "\n".join(rows)])


if __name__ == "__main__":
    main()
