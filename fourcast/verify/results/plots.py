"""Pictures of scores: against lead time, ranks, reliability and spectra; matplotlib is imported only to draw."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fourcast.drawing import COLOURS, labelled, raised, save
from fourcast.verify.results.figures import finish, panels, style, titled
from fourcast.verify.results.table import HEADLINE_LEADS, headline_channels, headline_region, lead_hours, units_of
from fourcast.verify.systems import kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 1e9
"""Of a spectrum's range that is shown: below it is rounding."""
SHOWN_LEADS = 4
"""Lead times in pictures of ranks, reliability and spectra."""
Line = tuple[str, str]
"""(metric, system)."""


def draw_scores(scores: xr.Dataset, folder: Path) -> list[Path]:
    """One PNG for every question that the scores answer, of the headline channels and region."""
    systems = [str(name) for name in scores["system"].values]
    singles = [name for name in systems if not kind(name).endswith("ensemble")]
    ensembles = [name for name in systems if kind(name) == "ensemble"]
    pictures = []
    if "rmse" in scores:
        pictures.append(draw_lines(scores, "RMSE", [("rmse", name) for name in singles], folder / "rmse.png"))
    if "acc" in scores:
        lines = [("acc", name) for name in singles if name != "climatology"]
        pictures.append(draw_lines(scores, "Anomaly correlation (ACC)", lines, folder / "acc.png"))
    if ensembles and "crps" in scores:
        lines = [("crps", name) for name in systems if kind(name) != "ensemble_mean"]
        title = "CRPS (fair); of a single field its mean absolute error"
        pictures.append(draw_lines(scores, title, lines, folder / "crps.png"))
    if ensembles and {"rmse", "spread"} <= set(scores):
        lines = [("rmse", n.removesuffix("ensemble") + "ensemble_mean") for n in ensembles]
        lines += [("spread", name) for name in ensembles]
        title = "RMSE of the ensemble mean, and spread × √((M + 1)/M), equal if the ensemble is reliable"
        pictures.append(draw_lines(inflated(scores), title, lines, folder / "spread.png"))
    if "rank_histogram" in scores:
        pictures.append(draw_ranks(scores, folder / "ranks.png"))
    if "reliability_share" in scores:
        pictures.append(draw_reliability(scores, folder / "reliability.png"))
    if "spectrum_mean" in scores:
        pictures.append(draw_spectra(scores, folder / "spectra.png"))
    return pictures


def inflated(scores: xr.Dataset) -> xr.Dataset:
    """Scores with the spread times √((M + 1)/M), which the RMSE of the mean of a reliable ensemble equals."""
    members = scores["members"].rename(ensemble="system").reindex(system=scores["system"].values)
    names = [name for name in ("spread", "spread_low", "spread_high") if name in scores]
    return scores.assign({name: np.sqrt((members + 1) / members) * scores[name] for name in names})


def draw_lines(scores: xr.Dataset, title: str, lines: Sequence[Line], path: Path) -> Path:
    """A panel for every headline channel with a line, and its interval, for every (metric, system)."""
    chosen = headline_channels(scores)
    figure, axes = panels(len(chosen))
    at_region = scores.sel(region=headline_region(scores))
    dimensionless, several = lines[0][0] == "acc", len({metric for metric, _ in lines}) > 1
    for axis, name in zip(axes, chosen, strict=True):
        for line in lines:
            _draw_line(axis, at_region.sel(channel=name), line, "RMSE, " if several and line[0] == "rmse" else "")
        axis.set_title(name if dimensionless else labelled(name, units_of(scores, name)), fontsize=10)
        axis.set_ylim(*((None, 1.02) if dimensionless else (0, None)))
        _days(axis, lead_hours(scores))
    finish(figure, axes, "lead time (days)")
    region = headline_region(scores).replace("_", " ")
    return save(figure, titled(scores, f"{title}, {region}{_shading(scores, lines)}"), path)


def _draw_line(axis: "Axes", found: xr.Dataset, line: Line, before: str) -> None:
    metric, system = line
    at, days = found.sel(system=system), np.array(lead_hours(found)) / 24
    look = style(found, system, "spread" if metric == "spread" else kind(system))
    look["label"] = before + look["label"]
    if len(days) == 1 and not look["marker"]:
        axis.axhline(float(at[metric].values[0]), linewidth=1.6, **look)  # of a line through one point nothing is seen
        return
    axis.plot(days, at[metric].values, markersize=3, linewidth=1.6, **look)
    if f"{metric}_low" in at:
        low, high = at[f"{metric}_low"].values, at[f"{metric}_high"].values
        axis.fill_between(days, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _shading(scores: xr.Dataset, lines: Sequence[Line]) -> str:
    """What the shading means, where there is any."""
    if f"{lines[0][0]}_low" not in scores:
        return ""
    return f" (shaded: {100 * scores.attrs['uncertainty_level']:g} % interval)"


def draw_ranks(scores: xr.Dataset, path: Path) -> Path:
    """Rank histograms of the headline channels at some lead times, one row for every forecast."""
    chosen, leads = headline_channels(scores)[:3], shown_leads(scores)
    ensembles = [str(name) for name in scores["ensemble"].values]
    figure, axes = panels(len(chosen) * len(ensembles), columns=len(chosen))
    held = scores["rank_histogram"].sel(region=headline_region(scores))
    for axis, (system, name) in zip(axes, ((s, n) for s in ensembles for n in chosen), strict=True):
        count = int(scores["members"].sel(ensemble=system)) + 1
        shares = held.sel(ensemble=system, channel=name).isel(rank=slice(count))
        edges = np.arange(count + 1) - 0.5
        for i, colour in zip(leads, _shades(len(leads)), strict=True):
            label = f"{lead_hours(scores)[i]} h"
            heights = shares.isel(lead_time=i).values * count
            axis.stairs(heights, edges, baseline=None, color=colour, linewidth=1.5, label=label)
        axis.axhline(1, color=COLOURS["black"], linestyle=":", linewidth=1.2, label="reliable")
        axis.set_title(f"{system.rpartition('/')[0]} {name}".strip(), fontsize=10)
        axis.set_xticks(np.arange(count)[:: -(-count // 9)])
        axis.set_ylim(0, None)
    axes[0].set_ylabel("share × number of ranks")
    finish(figure, axes, "members below the analysis", columns=len(chosen))
    title = f"Rank histograms, {headline_region(scores).replace('_', ' ')}; 1 everywhere if the ensemble is reliable"
    return save(figure, titled(scores, title), path)


def draw_reliability(scores: xr.Dataset, path: Path) -> Path:
    """How often an event happened where it had some probability, and how often that was forecast."""
    events = [str(name) for name in scores["event"].values][:6]
    leads, ensembles = shown_leads(scores), [str(name) for name in scores["ensemble"].values]
    figure, axes = panels(len(events) * len(ensembles), columns=min(3, len(events)), inches=(3.8, 4.0))
    held = scores.sel(region=headline_region(scores))
    for axis, (system, event) in zip(axes, ((s, e) for s in ensembles for e in events), strict=True):
        at = held.sel(ensemble=system, event=event)
        axis.plot([0, 1], [0, 1], color=COLOURS["black"], linestyle=":", linewidth=1.2, label="reliable")
        inset = axis.inset_axes((0.14, 0.7, 0.34, 0.24))
        for i, colour in zip(leads, _shades(len(leads)), strict=True):
            one = at.isel(lead_time=i)
            one = one.isel(bin=(one["reliability_share"] > 0).values)  # few members reach but few probabilities
            label = f"{lead_hours(scores)[i]} h"
            look = {"color": colour, "linewidth": 1.5}
            axis.plot(one["reliability_forecast"], one["reliability_observed"], marker="o", ms=3, label=label, **look)
            inset.plot(one["bin"], one["reliability_share"], **look)
        inset.set_yscale("log")
        inset.set_title("share of cases", fontsize=7, pad=2)
        inset.tick_params(labelsize=6)
        axis.set_title(
            f"{system.rpartition('/')[0]} {event} {raised(units_of(scores, event.split()[0]))}".strip(), fontsize=10
        )
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes[0].set_ylabel("how often it happened")
    finish(figure, axes, "forecast probability", columns=min(3, len(events)))
    title = f"Reliability of probabilities, {headline_region(scores).replace('_', ' ')}"
    return save(figure, titled(scores, title), path)


def draw_spectra(scores: xr.Dataset, path: Path) -> Path:
    """Zonal energy spectra, all latitudes, of three headline channels at the last of the shown lead times."""
    chosen, i_lead = headline_channels(scores)[:3], shown_leads(scores)[-1]
    held = scores["spectrum_mean"].isel(lead_time=i_lead, band=0, wavenumber=slice(1, None))
    kilometres = scores["wavelength"].isel(band=0).values[1:] / 1e3
    figure, axes = panels(len(chosen))
    for axis, name in zip(axes, chosen, strict=True):
        for spectrum in map(str, held["spectrum"].values):
            look = {**style(scores, spectrum, kind(spectrum)), "marker": ""}
            axis.loglog(kilometres, held.sel(spectrum=spectrum, channel=name).values, linewidth=1.5, **look)
        axis.set_title(labelled(name, f"m ({units_of(scores, name)})²"), fontsize=10)
        axis.invert_xaxis()
        axis.minorticks_off()
        axis.set_ylim(bottom=max(axis.get_ylim()[0], axis.get_ylim()[1] / DECADES))
    finish(figure, axes, "wavelength (km)")
    title = f"Zonal energy spectra at {lead_hours(scores)[i_lead]} h, {str(held['band'].values).replace('_', '-')}"
    return save(figure, titled(scores, title), path)


def shown_leads(scores: xr.Dataset) -> list[int]:
    """Positions of at most four of the customary lead times, evenly chosen, without the initial time."""
    leads = lead_hours(scores)
    good = [i for i, lead in enumerate(leads) if lead in HEADLINE_LEADS] or [i for i, lead in enumerate(leads) if lead]
    good = good or [0]
    chosen = np.linspace(0, len(good) - 1, min(SHOWN_LEADS, len(good))).round().astype(int)
    return [good[i] for i in chosen]


def _shades(count: int) -> list[Any]:
    """Colours from dark to light for a sequence of lead times."""
    from matplotlib import colormaps

    return [colormaps["viridis"](share) for share in np.linspace(0, 0.85, count)]


def _days(axis: "Axes", leads: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(6, integer=leads[-1] >= 72))
    if len(leads) == 1:
        axis.set_xticks([leads[0] / 24], [f"{leads[0] / 24:g}"])
    axis.ticklabel_format(axis="y", scilimits=(-2, 6))
