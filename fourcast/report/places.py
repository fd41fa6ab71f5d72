"""Where the parts of a run lie."""

from dataclasses import dataclass
from pathlib import Path

from fourcast.errors import InputError
from fourcast.verify_config import ReportConfig

SCORES = "scores.nc"
PARTS = ("train", "forecast", "scores")


@dataclass(frozen=True)
class Places:
    """Paths of a run's parts; None for what there is not."""

    train: str | None
    forecast: str | None
    scores: str | None


def find_places(config: ReportConfig) -> Places:
    """The parts of a run by their usual names, unless named; InputError where one named, or all, are missing."""
    run = Path(config.run)
    if not run.is_dir():
        raise InputError(f"run: there is no folder {run}; name the one that holds train, forecast and scores")
    train, forecast, scores = (_place(run, config, name) for name in PARTS)
    if scores is not None and not (Path(scores) / SCORES).exists():
        raise InputError(f"{scores} has no {SCORES}; make it with fourcast verify, or name another folder as scores=")
    if train is None and forecast is None and scores is None:
        above = f"; did you mean {run.resolve().parent}" if run.resolve().name in PARTS else ""
        raise InputError(f"{run} holds no train, forecast or scores; name them with train=, forecast=, scores={above}")
    return Places(train, forecast, scores)


def _place(run: Path, config: ReportConfig, name: str) -> str | None:
    named: str | None = getattr(config, name)
    if named is None:
        return str(run / name) if (run / name).exists() else None
    if "://" not in named and not Path(named).exists():
        raise InputError(f"{name}: there is no {named}; name what fourcast made, or leave {name}= out")
    return named
