"""All that a page shows, gathered from a run."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fourcast import __version__
from fourcast.forecast.contents import find_contents, keeps_members
from fourcast.forecast.netcdf import SYNTHETIC
from fourcast.report.about import about
from fourcast.report.forecast import Analyses, Shown, analyses_at, shown_at
from fourcast.report.map import MapSection, chosen_events, make_map
from fourcast.report.page import write_page
from fourcast.report.places import SCORES, Places
from fourcast.report.scores import Scores, read_scores
from fourcast.report.training import read_card, read_training
from fourcast.verify.inputs.forecasts import is_own_run, open_forecast
from fourcast.verify.inputs.targets import open_targets
from fourcast.verify_config import ReportConfig


@dataclass(frozen=True, eq=False)
class Compared:
    """The analyses beside a forecast, or a word of why there are none."""

    analyses: Analyses | None
    why_not: str | None = None


def collect(config: ReportConfig, places: Places) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything the page shows, as JSON, and its packs by name. A part that is not there is None."""
    scores = None if places.scores is None else read_scores(Path(places.scores) / SCORES, config.megabytes)
    shown = None if places.forecast is None else _shown(places.forecast, config, scores)
    compared = Compared(None) if shown is None else _compared(config, scores, shown)
    training = None if places.train is None else read_training(Path(places.train))
    attributes = {} if shown is None else dict(shown.forecast.attributes)
    card = None if places.train is None else read_card(Path(places.train), attributes.get("checkpoint"))
    synthetic = _synthetic(card, shown, scores, compared.analyses)
    title = f"Forecast report: {Path(config.run).resolve().name}"
    content = {
        "title": title,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "source": f"fourcast {__version__}",
        "synthetic": SYNTHETIC if synthetic else None,
        "about": about(card, training, shown, scores),
        "curves": None if training is None else training.curves,
        "scores": None if scores is None else scores.content,
        "map": None,
    }
    packs = {} if scores is None else scores.packs
    if shown is None:
        return content, packs
    room = config.megabytes * 1e6 - len(write_page(title, content, packs).encode())
    section = _map(config, scores, shown, compared, room)
    return {**content, "map": section.content}, packs | section.packs.texts


def _shown(path: str, config: ReportConfig, scores: Scores | None) -> Shown | None:
    """The forecast of the map; None where a run holds products of its members alone."""
    if is_own_run(path) and not keeps_members(find_contents(Path(path))):
        return None
    return shown_at(open_forecast(path), config.init_time, [] if scores is None else scores.init_times)


def _map(config: ReportConfig, scores: Scores | None, shown: Shown, compared: Compared, room: float) -> MapSection:
    """The map, in what everything else leaves of the page's size."""
    events = chosen_events(config.probability, [] if scores is None else scores.events, shown)
    section = make_map(config, shown, compared.analyses, events, room)
    if compared.why_not is not None:
        section.content["left_out"].append(f"No analyses and no coastlines: {compared.why_not}.")
    return section


def _compared(config: ReportConfig, scores: Scores | None, shown: Shown) -> Compared:
    named = config.store or (None if scores is None else scores.content["attributes"].get("analyses"))
    if named is None:
        return Compared(None, "no analyses are known; verify the forecast first, or name a store with store=")
    if config.store is None and "://" not in named and not Path(named).exists():
        return Compared(None, f"{named}, which the scores name, is not there; name the store with store=")
    found = analyses_at(open_targets(named), shown)
    return Compared(found, None if found is not None else f"{named} has other grid points than the forecast")


def _synthetic(
    card: dict[str, Any] | None, shown: Shown | None, scores: Scores | None, analyses: Analyses | None
) -> bool:
    """Whether any part says that it comes from a simulated planet."""
    return (
        bool(card is not None and card.get("synthetic"))
        or bool(shown is not None and shown.forecast.synthetic)
        or bool(scores is not None and scores.synthetic)
        or bool(analyses is not None and analyses.targets.synthetic)
    )
