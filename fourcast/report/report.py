"""The verb ``fourcast report RUN``: one HTML page of a training, its forecast and its scores."""

from pathlib import Path

from fourcast.errors import InputError
from fourcast.files import whole_file
from fourcast.report.contents import collect
from fourcast.report.page import write_page
from fourcast.report.places import find_places
from fourcast.verify.results.figures import require_matplotlib
from fourcast.verify_config import ReportConfig


def report(config: ReportConfig) -> Path:
    """Write the page, to config.output or RUN/report.html, whole or not at all.

    Raises InputError where there is nothing to report on, or what is named is not there.
    """
    require_matplotlib(otherwise="")
    output = Path(config.output or Path(config.run) / "report.html")
    if output.is_dir():
        raise InputError(f"output: {output} is a folder; name a file, as in output={output / 'report.html'}")
    content, packs = collect(config, find_places(config))
    with whole_file(output) as temporary:
        temporary.write_text(write_page(content["title"], content, packs), encoding="utf-8")
    said = list(content["map"]["left_out"] if content["map"] else [])
    if output.stat().st_size > config.megabytes * 1e6:
        said.append(f"It is larger than megabytes={config.megabytes:g} asks for: less than this is no page.")
    print("\n".join([f"{output} ({output.stat().st_size / 1e6:.1f} MB): open it in a browser", *said]))
    return output
