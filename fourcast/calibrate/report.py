"""What a calibration found, for people."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.calibrate.found import Calibration
from fourcast.calibrate.prepare import RECORD
from fourcast.calibrate.search import LEAST, MOST, TOLERANCE, Round, at_limit, distance, has_stalled, pooled
from fourcast.config import CalibrateConfig
from fourcast.verify.results.table import HEADLINE_LEADS, lead_hours, units_of

MOST_NAMED = 4
"""Channels whose spread does not match that a summary names, the farthest first."""
BEFORE_AFTER = ("before", "after")
METRICS = {"spread_skill_ratio": "spread/error", "crps": "CRPS", "rmse": "error"}
"""Columns of the tables."""
CONVENTIONS = {
    "amplitude": "in standard deviations of the training period",
    "spread": "square root of (M + 1)/M times the mean variance of M members (divisor M - 1)",
    "error": "root mean square error of the ensemble mean; at 0 h against the analysis that the members are made from",
    "CRPS": "the fair continuous ranked probability score",
    "ranks": "how many members lie below the analysis, as shares of the area; where members equal it, its cell is "
    "divided evenly among the ranks they leave open",
    "flatness": "mean squared relative departure of the ranks' shares from equal ones, 0 where the histogram is flat",
    "outside": "share of the area where the analysis lies below or above all members",
    "means": "over the area of grid cells and over initial times; all in units of the channel",
}


def summary(found: Calibration) -> str:
    """A few lines for the terminal and the report: what was done, what it changed, what to do next."""
    config, times = found.config, found.trial.init_times
    lines = [
        f"{config.perturbation} perturbations, {config.ensemble.size} members from {len(times)} initial times, "
        f"{times[0]} to {times[-1]}, {len(found.rounds)} round{'s' if len(found.rounds) > 1 else ''}:",
        *_changes(found),
        *_missed(found),
        *([found.warning] if found.warning else []),
        f"Use them with: fourcast forecast … {found.key}={Path(config.output) / RECORD}",
        *_beside(config),
    ]
    return "\n".join(lines)


def _beside(config: CalibrateConfig) -> list[str]:
    """The other perturbations that were on, with which alone the amplitudes are right."""
    given = {
        "gaussian": config.ensemble.gaussian_amplitude,
        "correlated": config.ensemble.correlated.amplitude,
        "bred": config.ensemble.bred.amplitude,
    }
    others = [f"ensemble.{name}.amplitude={given[name]}" for name in given if name != config.perturbation]
    kept = [*others, f"ensemble.lagged={config.ensemble.lagged}", f"ensemble.dropout={config.ensemble.dropout}"]
    return [f"beside what they were found with: {' '.join(kept)}"]


def _changes(found: Calibration) -> list[str]:
    """Ratios and scores at the target, before and after; once where the amplitudes that were given are the best."""
    hours, (first, chosen) = found.config.target_hours, (found.rounds[0], found.rounds[found.best])
    if found.best == 0:
        return [f"spread/error at {hours} h is {ratios(found.channels, first)}, as given, with {_amplitudes(found)}"]
    return [
        f"spread/error at {hours} h was {ratios(found.channels, first)}",
        f"{'':18}and is {ratios(found.channels, chosen)}, with {_amplitudes(found)}",
        f"CRPS at {hours} h changes by {_crps_change(found):+.1f} % on average",
    ]


def ratios(channels: Sequence[str], found: Round) -> str:
    """The ratios of a round in short: all together, the least and the greatest."""
    low, high = int(np.nanargmin(found.ratio_C)), int(np.nanargmax(found.ratio_C))
    ends = f"{channels[low]} {found.ratio_C[low]:.2f} … {channels[high]} {found.ratio_C[high]:.2f}"
    return f"{pooled(found.ratio_C):.2f} ({ends})"


def _amplitudes(found: Calibration) -> str:
    ordered = sorted(found.amplitudes.items(), key=lambda item: item[1])
    (lowest, least), (highest, greatest) = ordered[0], ordered[-1]
    if least == greatest:
        return f"an amplitude of {least:.3g}"
    return f"amplitudes of {least:.3g} ({lowest}) … {greatest:.3g} ({highest})"


def _crps_change(found: Calibration) -> float:
    """Per cent by which the CRPS at the target changes, averaged over channels."""
    before_C, after_C = found.scores[0].crps_LC[-1], found.scores[found.best].crps_LC[-1]
    has_error = before_C > 0
    return float(100 * np.mean(after_C[has_error] / before_C[has_error] - 1))


def _missed(found: Calibration) -> list[str]:
    """What does not match, and why."""
    if not found.missed.any():
        return []
    chosen = found.rounds[found.best]
    limited_C = at_limit(chosen.amplitude_C) & found.missed
    lines = [
        f"{found.channels[c]} stays at {chosen.ratio_C[c]:.2f} with the {_limit(chosen.amplitude_C[c])} amplitude tried"
        for c in np.flatnonzero(limited_C)
    ]
    others = sorted(np.flatnonzero(found.missed & ~limited_C), key=lambda c: -abs(np.log(chosen.ratio_C[c])))
    if not others:
        return lines
    named = [f"{found.channels[c]} {chosen.ratio_C[c]:.2f}" for c in others[:MOST_NAMED]]
    more = f" and {len(others) - MOST_NAMED} more channels" if len(others) > MOST_NAMED else ""
    which = ", ".join(named) + more if found.by_channel else f"all channels together {pooled(chosen.ratio_C):.2f}"
    return [*lines, f"not within {100 * TOLERANCE:.0f} % of 1: {which}; {_why(found)}"]


def _why(found: Calibration) -> str:
    """Why rounds ended without a match."""
    if found.by_channel and has_stalled(found.rounds[:-1]):
        return "the model mixes what is put into its channels, so that they cannot all match at once"
    if len(found.rounds) < found.config.rounds:
        return "no other amplitude is left to try"
    return f"more than rounds={len(found.rounds)} may bring them nearer"


def _limit(amplitude: float) -> str:
    return f"greatest ({MOST:g})" if amplitude > 1 else f"least ({LEAST:g})"


def report(found: Calibration, scores: xr.Dataset, pictures: Sequence[Path]) -> str:
    """report.md."""
    comment = [f"**{scores.attrs['comment']}**"] if "comment" in scores.attrs else []
    parts = [
        f"# Calibration of {found.key}",
        *comment,
        "```\n" + summary(found) + "\n```",
        f"## At {found.config.target_hours} h",
        _table(scores, {"amplitude": "amplitude", **METRICS}, [lead_hours(scores)[-1]]),
        *_pictured(pictures),
        "## Ranks of the analysis",
        f"Outside all members lie {2 / scores.sizes['rank']:.2f} of a reliable ensemble's cases.",
        _table(scores, {"rank_flatness": "flatness", "rank_outside": "outside"}, [lead_hours(scores)[-1]]),
        "## Other lead times",
        _table(scores, METRICS, _other_leads(scores)),
        "## Rounds",
        _rounds(found),
        "## Conventions",
        "\n".join(f"- {name}: {text}" for name, text in CONVENTIONS.items()),
        "The amplitudes fit the initial times above; scores on others show what they are worth. Every channel and lead "
        "time is in `scores.csv`, every rank in `ranks.csv`.",
    ]
    return "\n\n".join(parts) + "\n"


def _pictured(pictures: Sequence[Path]) -> list[str]:
    return [f"![{picture.stem}]({picture.name})" for picture in pictures]


def _other_leads(scores: xr.Dataset) -> list[int]:
    """The customary lead times before the target, or all of them where there is none."""
    leads = lead_hours(scores)[1:-1]
    return [lead for lead in leads if lead in HEADLINE_LEADS] or leads


def _table(scores: xr.Dataset, metrics: dict[str, str], leads: list[int]) -> str:
    """A row for every channel and lead time, two columns for every metric."""
    heads = [f"{heading} {when}" for heading in metrics.values() for when in BEFORE_AFTER]
    several, rows = len(leads) > 1, []
    for name in map(str, scores["channel"].values):
        for lead in leads:
            at = scores.sel(channel=name, lead_time=np.timedelta64(lead, "h"))
            cells = [f"{float(at[metric].sel(amplitudes=when)):.4g}" for metric in metrics for when in BEFORE_AFTER]
            rows.append([f"{name} ({units_of(scores, name)})", *([f"{lead} h"] if several else []), *cells])
    return _markdown([["channel (units)", *(["lead"] if several else []), *heads], *rows])


def _rounds(found: Calibration) -> str:
    rows = [
        [f"{i}" + (" (best)" if i == found.best + 1 else ""), ratios(found.channels, each),
         f"{distance(each, found.by_channel):.3f}"]
        for i, each in enumerate(found.rounds, 1)
    ]  # fmt: skip
    head = ["round", f"spread/error at {found.config.target_hours} h", "mean distance of its logarithm from 0"]
    return _markdown([head, *rows])


def _markdown(rows: list[list[str]]) -> str:
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *rest])
