"""Every file under conf/ is composed with its verb, turned into dataclasses, and built where it describes a model."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import HydraException
from tiny import composed

from fourcast.compose import SCHEMAS, conf_directory
from fourcast.config import ModelConfig, TrainConfig
from fourcast.data_config import PlanetConfig
from fourcast.grid import south_pole_rows
from fourcast.mixer_config import MIXERS, FNOConfig, ModesConfig
from fourcast.models.build import build_model
from fourcast.models.precipitation import PRECIPITATION
from fourcast.periods import last_hour
from fourcast.train_config import LossConfig, OptimConfig, RolloutConfig
from fourcast.variables import parse_channels

CONF = conf_directory()
NEEDED = {
    "fetch": ["channels=t2m", "start=2026-08-01", "end=2026-08-02"],
    "simulate": [],
    "ingest": ["source=a.nc", "output=b"],
    "inspect": ["path=a"],
    "plan": ["output=a", "data.store=b"],
    "train": ["output=a", "data.store=b"],
    "forecast": ["checkpoint=a", "store=b", "output=c", "init_times=2026-08-10"],
    "calibrate": ["init_start=2026-08-01", "init_end=2026-08-02"],
    "verify": ["forecast=a", "store=b", "output=c"],
    "report": ["run=a"],
    "import-weights": ["source=a", "output=b"],
    "export-weights": ["checkpoint=a", "output=b"],
    "doctor": [],
}
PRESETS = sorted(CONF.glob("experiment/*/*.yaml"))
MODELS = sorted(path.stem for path in CONF.glob("model/*.yaml"))


def test_no_file_goes_untested() -> None:
    known = [CONF / "base.yaml", *(CONF / f"{verb}.yaml" for verb in SCHEMAS), *PRESETS]
    known += [CONF / f"model/{name}.yaml" for name in MODELS] + list(CONF.glob("planet/*.yaml"))
    known += [CONF / f"mixer/{name}.yaml" for name in MIXERS]
    known += list(CONF.glob("channel_set/*.yaml"))  # tests/data/test_channel_sets.py
    known += list(CONF.glob("launcher/*.yaml"))  # tests/test_launcher.py
    assert sorted(CONF.rglob("*.*")) == sorted(known)


@pytest.mark.parametrize("verb", SCHEMAS)
def test_verbs(verb: str) -> None:
    assert type(composed(verb, *NEEDED[verb])) is SCHEMAS[verb]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_presets(preset: Path) -> None:
    verb = preset.parent.name
    needed = [key for key in NEEDED[verb] if key.startswith("source=") and preset.stem != "quickstart"]
    config: Any = composed(verb, f"+experiment/{verb}={preset.stem}", *needed)
    assert preset.stem in config.output


def preset(verb: str, name: str) -> Any:
    needed = ["source=a.nc"] if verb == "ingest" else []
    return composed(verb, f"+experiment/{verb}={name}", *needed)


def test_every_training_preset_has_forecasts_and_scores() -> None:
    trainings, forecasts, scores = (
        {path.stem for path in PRESETS if path.parent.name == verb} for verb in ("train", "forecast", "verify")
    )
    assert trainings == forecasts == scores


@pytest.mark.parametrize(
    ("name", "ingest_name"),
    [
        ("quickstart", "quickstart"),
        ("gfs_wind", "gfs_wind"),
        ("era5_5p6deg", "era5_5p6deg"),
        ("era5_1p5deg", "era5_1p5deg"),
        ("fcn_paper", "fcn_paper"),
        ("fcn_paper_finetune", "fcn_paper"),
        ("fcn_precipitation", "fcn_paper"),
    ],
)
def test_presets_of_one_name_hand_over_to_each_other(name: str, ingest_name: str) -> None:
    ingest, train, forecast, verify = (
        preset(verb, ingest_name if verb == "ingest" else name) for verb in ("ingest", "train", "forecast", "verify")
    )
    assert [forecast.store] == [verify.store] == train.data.store == [ingest.output]
    (forecast_model,) = forecast.checkpoint
    model = forecast_model if train.backbone is None else forecast.precipitation
    assert (model, verify.forecast) == (train.output, [forecast.output])
    assert ingest.statistics_end == train.data.train_end < train.data.validation_start
    assert train.data.validation_end < forecast.init_start
    assert ingest.end is None or last_lead(forecast) <= last_hour("end", ingest.end)


def last_lead(forecast: Any) -> np.datetime64:
    return last_hour("init_end", forecast.init_end) + np.timedelta64(forecast.lead_hours, "h")


def test_the_published_trainings_hand_over_to_each_other() -> None:
    first, second, rain = (preset("train", name) for name in ("fcn_paper", "fcn_paper_finetune", "fcn_precipitation"))
    assert (first.start_from, second.start_from, rain.backbone) == (None, first.output, second.output)
    ingest, forecast = preset("ingest", "fcn_paper"), preset("forecast", "fcn_precipitation")
    channels = [channel.name for channel in parse_channels(ingest.channels)]
    assert [c.name for c in parse_channels(first.data.channels)] + [PRECIPITATION] == channels
    assert rain.data.channels is None  # those of the backbone
    assert (forecast.checkpoint, forecast.variables) == ([second.output], [PRECIPITATION])


def test_the_published_trainings_are_as_published() -> None:
    """Adam at 5e-4, 1e-4 and 2.5e-4, falling as a cosine over 80, 50 and 25 epochs of batches of 64."""
    analyses = int((np.datetime64("2016-01-01") - np.datetime64("1979-01-01")).astype(int)) * 4
    epoch = analyses // 64
    for name, rate, epochs, steps in (
        ("fcn_paper", 5e-4, 80, 1),
        ("fcn_paper_finetune", 1e-4, 50, 2),
        ("fcn_precipitation", 2.5e-4, 25, 1),
    ):
        config = preset("train", name)
        assert config.model == ModelConfig()
        assert config.optim == OptimConfig(learning_rate=rate)
        assert config.loss == LossConfig(name="relative_l2")
        assert (config.rollout, config.batch_size) == (RolloutConfig(steps), 64)
        assert config.steps == epochs * epoch


@pytest.mark.parametrize(
    ("name", "channels", "latitude"),
    [
        ("era5_5p6deg", 18, 90 - 5.625 * (np.arange(32) + 0.5)),
        ("era5_1p5deg", 18, 90 - 1.5 * np.arange(121)),
        ("fcn_paper", 20, 90 - 0.25 * np.arange(721)),
    ],
)
def test_networks_of_presets_tile_their_grids(name: str, channels: int, latitude: np.ndarray) -> None:
    """Twice as many columns as rows, once the row at the south pole is dropped."""
    ingest, train = preset("ingest", name), preset("train", name)
    rows = len(latitude) - south_pole_rows(latitude)
    held = [channel.name for channel in parse_channels(ingest.channels)]
    assert len(held) - (PRECIPITATION in held) == channels
    with torch.device("meta"):
        build_model(train.model, (channels, channels), (rows, 2 * rows), torch.ones(channels))


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    config = composed("train", *NEEDED["train"], f"model={name}")
    assert isinstance(config, TrainConfig)
    with torch.device("cpu" if name == "small" else "meta"):
        model = build_model(config.model, (3, 3), (32, 64), torch.ones(3))
    if name == "small":
        x = torch.zeros(1, 3, 32, 64)
        assert model(x).shape == x.shape


def test_the_published_model_is_the_default() -> None:
    config = composed("train", *NEEDED["train"])
    assert isinstance(config, TrainConfig)
    assert config.model == ModelConfig()


@pytest.mark.parametrize("preset", [[], ["+experiment/train=quickstart"]])
@pytest.mark.parametrize("name", MIXERS)
def test_mixers(name: str, preset: list[str]) -> None:
    config = composed("train", *NEEDED["train"], *preset, f"mixer={name}")
    assert isinstance(config, TrainConfig)
    assert config.model.mixer == MIXERS[name]()


def test_the_keys_of_a_mixer_are_its_own() -> None:
    config = composed("train", "mixer=fno", "model.mixer.num_blocks=4", "model.mixer.modes.zonal_fraction=0.25")
    assert isinstance(config, TrainConfig)
    assert config.model.mixer == FNOConfig(num_blocks=4, modes=ModesConfig("lowpass", 1.0, 0.25, 0.5))
    for wrong in (
        ["model.mixer.num_bloks=4"],
        ["mixer=gfnet", "model.mixer.num_blocks=4"],
        ["mixer=long_conv", "model.mixer.modes.policy=full"],
        ["mixer=none", "model.mixer.sparsity_threshold=0"],
        ["model.num_blocks=4"],
    ):
        with pytest.raises(HydraException, match=re.escape(wrong[-1].partition("=")[0])):
            composed("train", *wrong)
    for wrong, key in (
        (["mixer=fno", "model.mixer.num_blocks=many"], "model.mixer.num_blocks"),
        (["mixer=parc", "model.mixer.meta_resolution=[8,x]"], "model.mixer.meta_resolution"),
        (["mixer=wings"], "mixer/wings"),
    ):
        with pytest.raises(HydraException, match=re.escape(key)):
            composed("train", *wrong)


@pytest.mark.parametrize("name", ["qg3", "speedy"])
def test_planets(name: str) -> None:
    config: Any = composed("simulate", f"planet={name}")
    assert config.planet == PlanetConfig(name=name)
