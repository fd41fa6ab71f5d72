"""What a page says first: which model, which data, which forecast, and how they were made."""

import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from fourcast.report.forecast import Shown
from fourcast.report.scores import Scores
from fourcast.report.training import Training

Rows = list[tuple[str, str]]
OF_FORECAST = (
    ("made by", "source"), ("written", "history"), ("checkpoint", "checkpoint"),
    ("weights (SHA-256)", "checkpoint_sha256"), ("precipitation model", "precipitation"),
    ("initial states", "initial_states"), ("perturbation", "perturbation"), ("seed", "seed"),
    ("precision", "precision"), ("reproducible", "reproducibility"),
)  # fmt: skip
OF_SCORES = (
    ("made by", "source"), ("written", "history"), ("convention", "convention"), ("", "convention_text"),
    ("forecast", "forecast"), ("analyses", "analyses"), ("climatology", "climatology"),
    ("uncertainty", "uncertainty"), ("left out", "left_out"),
)  # fmt: skip


def about(
    card: Mapping[str, Any] | None, training: Training | None, shown: Shown | None, scores: Scores | None
) -> dict[str, Any]:
    """JSON of the first section: ``groups`` of rows, and whole ``documents`` for whoever wants every key."""
    config = {} if training is None else training.config
    forecast = {} if shown is None else dict(shown.forecast.attributes)
    scored = {} if scores is None else scores.content["attributes"]
    groups = {
        "Model": model_rows(card) if card else [],
        "Training": training_rows(config) if config else [],
        "Forecast": [] if shown is None else _extent(shown) + attribute_rows(forecast, OF_FORECAST),
        "Verification": attribute_rows(scored, OF_SCORES),
    }
    records = {
        "checkpoint card": card,
        "training configuration": config,
        "forecast attributes": forecast,
        "scores attributes": scored,
    }
    return {
        "groups": [{"name": name, "rows": rows} for name, rows in groups.items() if rows],
        "documents": [{"name": name, "text": _as_json(record)} for name, record in records.items() if record],
    }


def _extent(shown: Shown) -> Rows:
    forecast = shown.forecast
    height, width = forecast.grid.shape
    first, last = forecast.init_times[0], forecast.init_times[-1]
    return [
        ("initial times", f"{len(forecast.init_times)}: {first} to {last} UTC"),
        ("members", str(len(forecast.members))),
        ("lead times", f"{len(forecast.lead_hours)}: {forecast.lead_hours[0]} to {forecast.lead_hours[-1]} h"),
        ("grid", f"{height} × {width} points"),
    ]


def model_rows(card: Mapping[str, Any]) -> Rows:
    """A checkpoint's card in words."""
    model = card["model"]
    mixer = model.get("mixer", {}).get("name", "afno")
    shape = f"{len(card['latitude'])} × {len(card['longitude'])} points, patches of {model.get('patch_size')}"
    channels = card.get("channels") or []
    return _said(
        [
            ("checkpoint", card["checkpoint"]),
            ("mixer", f"{mixer}, {model.get('depth')} blocks of width {model.get('embed_dim')}"),
            ("grid", shape),
            ("channels", f"{len(channels)}: {', '.join(channels)}" if channels else card.get("in_channels")),
            ("time step", f"{card['step_hours']} h"),
            ("predicts", model.get("target")),
            ("trained by", _versions(card.get("provenance", {}))),
        ]
    )


def training_rows(config: Mapping[str, Any]) -> Rows:
    """A training's configuration in words."""
    data, optim = config.get("data", {}), config.get("optim", {})
    return _said(
        [
            ("data", ", ".join(_listed(data.get("store")))),
            ("trained on", _period(data.get("train_start"), data.get("train_end")) or "all of it"),
            ("held out", _period(data.get("validation_start"), data.get("validation_end")) or "its last tenth"),
            ("steps", f"{config.get('steps')} of {config.get('batch_size')} samples"),
            ("loss", _name_of(config.get("loss"))),
            ("learning rate", optim.get("learning_rate")),
            ("precision", config.get("precision")),
            ("seed", config.get("seed")),
        ]
    )


def attribute_rows(attributes: Mapping[str, Any], named: tuple[tuple[str, str], ...]) -> Rows:
    """Those of a file's attributes that have a name here."""
    return _said([(label, attributes.get(key)) for label, key in named])


def _as_json(record: Mapping[str, Any]) -> str:
    return json.dumps(_opened(record), indent=2, ensure_ascii=False, default=str)


def _said(rows: list[tuple[str, Any]]) -> Rows:
    return [(label, str(value)) for label, value in rows if str(value) not in ("", "None")]


def _period(starts: list[str] | str | None, ends: list[str] | str | None) -> str:
    pairs = zip_longest(_listed(starts), _listed(ends))
    return ", ".join(f"{first or 'the first'} to {last or 'the last'}" for first, last in pairs)


def _listed(value: list[str] | str | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _name_of(loss: Any) -> Any:
    return loss.get("name", loss) if isinstance(loss, dict) else loss


def _versions(provenance: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {provenance[name]}" for name in ("fourcast", "torch") if name in provenance)


def _opened(record: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that are JSON as what they hold; grids, which are long, by their ends."""
    return {key: _short(_parsed(value)) for key, value in record.items()}


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:  # it only begins as JSON does
        return value


def _short(value: Any) -> Any:
    long = isinstance(value, list | tuple) and len(value) > 40
    return f"{len(value)} values from {value[0]} to {value[-1]}" if long else value
