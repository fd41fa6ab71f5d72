"""Every file under conf/ is composed with its verb, turned into dataclasses, and built where it describes a model."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import HydraException
from tiny import composed

from fourcast.config import SCHEMAS, ModelConfig, PlanetConfig, TrainConfig, conf_directory
from fourcast.mixer_config import MIXERS, FNOConfig, ModesConfig
from fourcast.models.build import build_model

CONF = conf_directory()
NEEDED = {
    "fetch": ["channels=t2m", "start=2026-08-01", "end=2026-08-02"],
    "simulate": [],
    "ingest": ["source=a.nc", "output=b"],
    "inspect": ["path=a"],
    "train": ["output=a", "data.store=b"],
    "forecast": ["checkpoint=a", "store=b", "output=c", "init_times=2026-08-10"],
    "verify": ["forecast=a", "store=b", "output=c"],
    "import-weights": ["source=a", "output=b"],
}
PRESETS = sorted(CONF.glob("experiment/*/*.yaml"))
MODELS = sorted(path.stem for path in CONF.glob("model/*.yaml"))


def test_no_file_goes_untested() -> None:
    known = [CONF / "base.yaml", *(CONF / f"{verb}.yaml" for verb in SCHEMAS), *PRESETS]
    known += [CONF / f"model/{name}.yaml" for name in MODELS] + list(CONF.glob("planet/*.yaml"))
    known += [CONF / f"mixer/{name}.yaml" for name in MIXERS]
    known += list(CONF.glob("channel_set/*.yaml"))  # tests/data/test_channel_sets.py
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


@pytest.mark.parametrize("name", ["quickstart", "gfs_wind"])
def test_presets_of_one_name_hand_over_to_each_other(name: str) -> None:
    def preset(verb: str, *overrides: str) -> Any:
        return composed(verb, f"+experiment/{verb}={name}", *overrides)

    ingest = preset("ingest", "source=a.nc")
    train, forecast, verify = preset("train"), preset("forecast"), preset("verify")
    assert [forecast.store] == [verify.store] == train.data.store == [ingest.output]
    assert (forecast.checkpoint, verify.forecast) == (train.output, forecast.output)
    assert ingest.statistics_end == train.data.train_end < train.data.validation_start
    assert train.data.validation_end < forecast.init_start


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
