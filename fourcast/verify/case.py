"""What one channel of one case says: statistics of all systems, and what is summed over initial times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourcast.errors import InputError
from fourcast.forecast.netcdf import ACCUMULATION_HOURS
from fourcast.variables import parse_channel
from fourcast.verify.extras import Scores, event_scores, point_errors, reliabilities, spectra_of
from fourcast.verify.plan import Plan, control_position, named
from fourcast.verify.scores import Fields, Float, Float64, Scored, ensemble_mean, score, valid_points
from fourcast.verify.seeps import Seeps
from fourcast.verify.systems import CLIMATE_ENSEMBLE

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Inputs:
    """One channel of one case: analyses, baselines, and the members [M, H, W] of every forecast.

    seeps: where the channel is scored by it. maps: whether errors are mapped.
    """

    channel: str
    lead_hours: int
    valid_time: np.datetime64
    target_HW: Float32
    persistence_HW: Float32
    climatology_HW: Float32 | None
    members: tuple[Float32, ...]
    seeps: Seeps | None = None
    maps: bool = False

    @property
    def words(self) -> str:
        """Which it is, in a message."""
        init = self.valid_time - np.timedelta64(self.lead_hours, "h")
        return f"{self.channel} of {init} + {self.lead_hours} h"


@dataclass(frozen=True, eq=False)
class Found:
    """What forecasts and persistence came to.

    ranks: by ensemble. events: for every event of the channel, its place, its Brier scores and the reliability of every
    ensemble. spectra: [S, B, K], None where there are gaps. errors: of every mapped system [S, h, w] at the points of
    the map, and the variance of every ensemble. masked_HW: the analysis without points at which a forecast has a gap;
    None where there are no such points.
    """

    statistics: Scores
    coverage: Float64
    ranks: Mapping[str, Float64]
    events: Mapping[int, Scores]
    reliability: Mapping[int, Mapping[str, Float64]]
    spectra: Float64 | None
    maps: tuple[Float64, Float64] | None
    masked_HW: Float32 | None


@dataclass(frozen=True, eq=False)
class AllScores:
    """What is made of the fields of one case, or of several in one go: see Scored and Found."""

    scored: Scored
    events: Mapping[int, Scores]
    reliability: Mapping[int, Mapping[str, Float64]]


@dataclass(frozen=True, eq=False)
class FoundBaselines:
    """What climatology and probabilistic climatology came to, which does not depend on the initial time."""

    statistics: Scores
    events: Mapping[int, Scores]


def score_cases(plan: Plan, cases: Sequence[Inputs]) -> list[Found]:
    """``score_case`` of cases of one channel, in one go where no field has gaps: small ones cost little but calls."""
    if len(cases) == 1 or any(inputs.seeps is not None or _has_gaps(inputs) for inputs in cases):
        return [score_case(plan, inputs) for inputs in cases]
    fields = _stacked(plan, cases)
    scores = _scores(plan, cases[0], fields)
    return [_found(plan, inputs, _fields_at(n, fields), _scores_at(n, scores)) for n, inputs in enumerate(cases)]


def _has_gaps(inputs: Inputs) -> bool:
    """Whether there is any point at which not everything is a number."""
    climatology = () if inputs.climatology_HW is None else (inputs.climatology_HW,)
    fields = (inputs.target_HW, inputs.persistence_HW, *climatology, *inputs.members)
    return not all(np.isfinite(field.min()) and np.isfinite(field.max()) for field in fields)


def _stacked(plan: Plan, cases: Sequence[Inputs]) -> Fields:
    """Fields [N, H, W] and ensembles [M, N, H, W] of N cases."""
    each = [systems(plan, inputs) for inputs in cases]
    singles = {name: _stack([one[name] for one, _ in each]) for name in each[0][0]}
    singles["persistence"] = _stack([inputs.persistence_HW for inputs in cases])
    ensembles = {name: _stack([many[name] for _, many in each], axis=1) for name in each[0][1]}
    climatology = [inputs.climatology_HW for inputs in cases if inputs.climatology_HW is not None]
    target_NHW = _stack([inputs.target_HW for inputs in cases])
    return Fields(target_NHW, _stack(climatology) if climatology else None, singles, ensembles)


def _stack(fields: Sequence[Float], axis: int = 0) -> Float:
    return np.concatenate([np.expand_dims(field, axis) for field in fields], axis=axis)


def _fields_at(n: int, fields: Fields) -> Fields:
    """Those of the n-th case."""
    climatology_HW = None if fields.climatology_HW is None else fields.climatology_HW[n]
    ensembles = {name: members_MNHW[:, n] for name, members_MNHW in fields.ensembles.items()}
    return Fields(fields.target_HW[n], climatology_HW, _at(n, fields.singles), ensembles)


def _scores_at(n: int, scores: AllScores) -> AllScores:
    """Those of the n-th case."""
    scored = replace(scores.scored, statistics=_at(n, scores.scored.statistics), ranks=_at(n, scores.scored.ranks))
    return AllScores(scored, _at(n, scores.events), _at(n, scores.reliability))


def _at(n: int, found: Mapping[Any, Any]) -> dict[Any, Any]:
    """The n-th of all arrays in nested mappings."""
    return {key: _at(n, of) if isinstance(of, Mapping) else of[n] for key, of in found.items()}


def score_case(plan: Plan, inputs: Inputs) -> Found:
    """Score forecasts and persistence.

    An accumulation that has only just begun has no number and is not scored. Raises InputError where else a forecast
    has gaps that the analysis has not, unless they are to be skipped, and where a region has no analysis at all.
    """
    if _has_not_accumulated(inputs):
        return Found({}, np.zeros(len(plan.regions)), {}, {}, {}, None, None, None)
    singles, ensembles = systems(plan, inputs)
    singles["persistence"] = inputs.persistence_HW
    given = _without_gaps(plan, inputs, singles, ensembles)
    fields = Fields(given.target_HW, given.climatology_HW, singles, ensembles)
    scores = _scores(plan, given, fields)
    _require_coverage(plan, given, scores.scored)
    found = _found(plan, given, fields, scores)
    return found if given is inputs else replace(found, masked_HW=given.target_HW)


def score_baselines(plan: Plan, inputs: Inputs, climate_KHW: Float32 | None) -> FoundBaselines:
    """Score climatology and, where there is one, the probabilistic climatology [K, H, W] of the valid time."""
    singles: dict[str, Float] = {} if inputs.climatology_HW is None else {"climatology": inputs.climatology_HW}
    ensembles: dict[str, Float] = {} if climate_KHW is None else {CLIMATE_ENSEMBLE: climate_KHW}
    fields = Fields(inputs.target_HW, inputs.climatology_HW, singles, ensembles)
    scored = _score(plan, inputs, fields)
    return FoundBaselines(scored.statistics, event_scores(plan, inputs.channel, fields, scored.valid_HW))


def systems(plan: Plan, inputs: Inputs) -> tuple[dict[str, Float], dict[str, Float]]:
    """The forecasts' single fields [H, W] and ensembles [M, H, W] by system."""
    singles: dict[str, Float] = {}
    ensembles: dict[str, Float] = {}
    for forecast, members_MHW in zip(plan.forecasts, inputs.members, strict=True):
        control = control_position(forecast)
        if control is not None:
            singles[named(forecast, "control")] = members_MHW[control]
        if len(members_MHW) >= 2:
            singles[named(forecast, "ensemble_mean")] = ensemble_mean(members_MHW)
            ensembles[named(forecast, "ensemble")] = members_MHW
    return singles, ensembles


def _has_not_accumulated(inputs: Inputs) -> bool:
    """Whether a forecast of an accumulation starts with no number anywhere, as many do."""
    if parse_channel(inputs.channel).variable.cell_methods is None or inputs.lead_hours >= ACCUMULATION_HOURS:
        return False
    return any(bool(np.isnan(members_MHW).all()) for members_MHW in inputs.members)


def _without_gaps(plan: Plan, inputs: Inputs, singles: Mapping[str, Float], ensembles: Mapping[str, Float]) -> Inputs:
    """The inputs as they are or, where gaps are skipped and there are any, with NaN in the analysis there."""
    if plan.config.missing != "skip":
        return inputs
    valid_HW = valid_points(Fields(inputs.target_HW, inputs.climatology_HW, singles, ensembles), "skip")
    if valid_HW is None or (valid_HW == np.isfinite(inputs.target_HW)).all():
        return inputs
    return replace(inputs, target_HW=np.where(valid_HW, inputs.target_HW, np.float32(np.nan)))


def _scores(plan: Plan, inputs: Inputs, fields: Fields) -> AllScores:
    scored = _score(plan, inputs, fields)
    given = plan, inputs.channel, fields, scored.valid_HW
    return AllScores(scored, event_scores(*given), reliabilities(*given))


def _found(plan: Plan, inputs: Inputs, fields: Fields, scores: AllScores) -> Found:
    """What the fields of one case come to beside their scores, and these."""
    given = plan, inputs.target_HW, fields.singles, fields.ensembles
    return Found(
        statistics=scores.scored.statistics,
        coverage=scores.scored.coverage,
        ranks=scores.scored.ranks,
        events=scores.events,
        reliability=scores.reliability,
        spectra=spectra_of(*given) if plan.spectra else None,
        maps=point_errors(*given) if inputs.maps else None,
        masked_HW=None,
    )


def _score(plan: Plan, inputs: Inputs, fields: Fields) -> Scored:
    try:
        scored = score(fields, plan.means, plan.convention, plan.missing, plan.config.energy_score)
    except InputError as error:
        raise InputError(f"{inputs.words}: {error}") from error
    if inputs.seeps is not None:
        scored.statistics["seeps"] = inputs.seeps.statistics(
            inputs.channel, inputs.valid_time, fields.singles, inputs.target_HW, plan.means, _mask(inputs.target_HW)
        )
    return scored


def _mask(field_HW: Float32) -> NDArray[np.bool_] | None:
    """Where there are numbers; None for everywhere."""
    numbers_HW = np.isfinite(field_HW)
    return None if numbers_HW.all() else numbers_HW


def _require_coverage(plan: Plan, inputs: Inputs, scored: Scored) -> None:
    empty = [name for name, share in zip(plan.regions, scored.coverage, strict=True) if not share > 0]
    if empty and plan.missing == "refuse":
        raise InputError(
            f"{inputs.words}: the analysis of {inputs.valid_time} in {plan.targets.path} has no number anywhere in "
            f"region {empty[0]}; leave out the region or the channel, or pass missing=skip"
        )
