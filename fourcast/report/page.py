"""One HTML file out of the template, the style, the scripts and the data; it opens from disk and asks for nothing."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    "text.js", "packs.js", "draw.js", "chart.js", "bars.js", "about.js", "training.js", "numbers.js", "scorecard.js",
    "leads.js", "diagnostics.js", "sampling.js", "canvas.js", "point.js", "controls.js", "steer.js", "map.js",
    "main.js",
)  # fmt: skip
"""In the order in which they are read; they share one scope."""


def write_page(title: str, content: Mapping[str, Any], packs: Mapping[str, str]) -> str:
    """The page as text; ``content`` becomes JSON, each of ``packs`` an element that is decoded when it is needed."""
    scripts = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    template = Template((FOLDER / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        script=f'(function () {{\n"use strict";\n{scripts}\n}})();',
        content=as_json(content),
        packs=pack_elements(packs),
    )


def as_json(content: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def pack_elements(packs: Mapping[str, str]) -> str:
    """An element for each pack."""
    return "\n".join(
        f'<script type="text/plain" data-pack="{html.escape(name)}">{text}</script>' for name, text in packs.items()
    )
