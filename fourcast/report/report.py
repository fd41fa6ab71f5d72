"""The verb ``fourcast report RUN``: one HTML page of a training, its forecast and its scores."""

from pathlib import Path

from fourcast.config import ReportConfig
from fourcast.files import whole_file
from fourcast.report.colours import require_matplotlib
from fourcast.report.contents import collect
from fourcast.report.page import write_page
from fourcast.report.places import find_places


def report(config: ReportConfig) -> Path:
    """Write the page, to config.output or RUN/report.html, whole or not at all.

    Raises InputError where there is nothing to report on, or what is named is not there.
    """
    require_matplotlib()
    content, packs = collect(config, find_places(config))
    output = Path(config.output or Path(config.run) / "report.html")
    with whole_file(output) as temporary:
        temporary.write_text(write_page(content["title"], content, packs), encoding="utf-8")
    said = content["map"]["left_out"] if content["map"] else []
    print("\n".join([f"{output} ({output.stat().st_size / 1e6:.1f} MB): open it in a browser", *said]))
    return output
