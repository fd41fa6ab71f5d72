"""Which forecasts, initial times and lead times are compared, and what is therefore left out."""

from collections.abc import Sequence
from pathlib import PurePath

from fourcast.errors import InputError
from fourcast.periods import within
from fourcast.verify.inputs.align import common_cases
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify_config import VerifyConfig

SHOWN = 8
"""Of a long list of numbers."""


def labels(paths: Sequence[str], names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of forecasts: ``names``, or none of a single one, or the last part of their paths that differs."""
    if len(paths) == 1 and names is None:
        return ("",)
    if names is not None:
        if any(not name or "/" in name for name in names) or len(set(names)) < len(names):
            raise InputError(f"names must differ and be without a slash, found {', '.join(map(repr, names))}")
        return tuple(names)
    parts = [PurePath(path.rstrip("/")).parts for path in paths]
    for depth in range(1, min(map(len, parts)) + 1):
        found = tuple(PurePath(part[-depth]).stem.strip("*?") for part in parts)
        if len(set(found)) == len(found) and all(found):
            return found
    raise InputError(f"{', '.join(paths)} do not differ in a way that names them; name them with names=[…]")


def select_common(forecasts: Sequence[Forecast], config: VerifyConfig) -> tuple[tuple[Forecast, ...], tuple[str, ...]]:
    """The forecasts at the initial and lead times to score, the same in all, and a line for each thing left out.

    InputError where a forecast lacks a lead time asked for, or nothing is left.
    """
    chosen = [_asked(forecast, config) for forecast in forecasts]
    init_times, lead_hours = common_cases(chosen)
    left_out = []
    for forecast in chosen:
        inits = len(forecast.init_times) - len(init_times)
        leads = [hours for hours in forecast.lead_hours if hours not in lead_hours]
        what = [f"{inits} initial times"] if inits else []
        what += [f"lead times of {_some(leads)} h"] if leads else []
        if what:
            left_out.append(f"not scored, for only {forecast.path} holds them: {' and '.join(what)}")
    return tuple(forecast.select(init_times, lead_hours) for forecast in chosen), tuple(left_out)


def _asked(forecast: Forecast, config: VerifyConfig) -> Forecast:
    """A forecast at the initial and lead times asked for."""
    times = forecast.init_times[within(forecast.init_times, config.init_start, config.init_end)]
    if len(times) == 0:
        raise InputError(
            f"{forecast.path} has no initial time from {config.init_start or 'its first'} to "
            f"{config.init_end or 'its last'}; it holds {len(forecast.init_times)} from {forecast.init_times[0]} to "
            f"{forecast.init_times[-1]}. Change init_start and init_end"
        )
    leads = forecast.lead_hours if config.lead_hours is None else tuple(sorted(set(config.lead_hours)))
    missing = [hours for hours in leads if hours not in forecast.lead_hours]
    if missing or not leads:
        raise InputError(
            f"{forecast.path} has no lead time of {_some(missing) or '… no'} h; it holds "
            f"{_some(forecast.lead_hours)} h. Change lead_hours"
        )
    return forecast.select(times, leads)


def _some(hours: Sequence[int]) -> str:
    return ", ".join(map(str, hours[:SHOWN])) + (" …" if len(hours) > SHOWN else "")
