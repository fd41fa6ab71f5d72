"""Every option of a training, in every value it can be named to have, and every preset, makes its steps."""

import importlib.util
import json
import math
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tiny import CHANNELS, OVERRIDES, TIMES, composed, tensors_of, waves, write_store

from fourcast.checkpoint import build, find_checkpoint, load_card
from fourcast.compose import conf_directory
from fourcast.config import TrainConfig
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.mixer_config import AFNOConfig
from fourcast.train.loop import train

PRESETS = sorted(path.stem for path in conf_directory().glob("experiment/train/*.yaml"))
BASE = [
    "data.store={store}", "output={output}", "steps=2", "device=cpu", "trackers=null", "batch_size=4", "log_every=1",
    "data.channels=[t2m,z500]", "data.train_start=null", "data.train_end=2026-08-08", "data.validation_end=null",
    "data.validation_start=2026-08-09", "model.patch_size=4", "model.embed_dim=16", "model.depth=1",
    "model.mixer.num_blocks=2", "validation_samples=2", "seed=1", "resume=true", "pictures=[]",
    "predict=false",
]  # fmt: skip
"""What makes a training tiny; it counts as tried, too."""
CASES: dict[str, list[str]] = {
    "as-published": [
        "loss.name=relative_l2", "optim.name=adamw", "optim.schedule=cosine", "optim.final_fraction=0.1",
        "precision=fp32", "model.target=direct", "parallel.strategy=ddp", "async_checkpoints=true",
    ],
    "mse": [
        "loss.name=area_mse", "loss.channel_weights={{z: 2.0, t2m: 0.5}}", "loss.level_weights=pressure",
        "model.target=residual", "optim.schedule=one_cycle", "optim.gradient_clip=0.1", "optim.weight_decay=0.1",
    ],
    "mae": [
        "loss.name=area_mae", "loss.level_weights=equal", "optim.schedule=constant", "optim.warmup_steps=3",
        "optim.learning_rate=1e-4", "precision=tf32", "async_checkpoints=false",
    ],
    "huber": [
        "loss.name=area_huber", "loss.huber_delta=0.1", "optim.beta1=0.8", "optim.beta2=0.95", "optim.ema_decay=0.9",
        "model.mlp_ratio=2.0", "model.drop_rate=0.1", "model.drop_path_rate=0.2", "model.depth=2", "precision=bf16",
    ],
    "crps": [
        "loss.name=crps", "loss.crps_members=3", "loss.crps_alpha=1.0", "model.noise_channels=2", "rollout.steps=2",
        "rollout.backprop_steps=1", "parallel.accumulate=2",
    ],
    "spectral": ["loss.name=area_mse", "loss.spectral_amplitude=0.1", "precision=fp16", "optim.ema_decay=0.9"],
    "muon": ["predict=true", "optim.name=muon", "parallel.recompute=0.5", "parallel.accumulate=3", "model.depth=2"],
    "plateau": [
        "optim.schedule=plateau", "optim.plateau_patience=1", "optim.plateau_factor=0.1", "validate_every=1",
        "checkpoint_every=1", "keep_checkpoints=1", "skip_limit=1",
    ],
    "stages": ["rollout.steps={{0: 1, 1: 3}}", "validation_steps=2", "pictures=[z500]"],
    "stride": ["data.stride=2", "data.train_end=[2026-08-03, 2026-08-08]", "data.train_start=[null, 2026-08-05]"],
    "threads": ["data.memory_gb=0", "data.loader=threads", "data.workers=2", "data.prefetch=1", "device=auto"],
    "start": ["start_from={start}", "parallel.strategy=fsdp"],
    "rain": ["backbone={start}", "parallel.strategy=hybrid", "parallel.shard_processes=1"],
    "tensorboard": ["trackers=tensorboard", "profile_steps=0"],
}  # fmt: skip
SLOW: dict[str, list[str]] = {
    "processes": ["data.memory_gb=0", "data.loader=processes", "data.workers=2"],
    "compile": ["parallel.compile=default", "model.depth=2"],
    "reduce-overhead": ["parallel.compile=reduce-overhead", "rollout.steps=2"],
    "max-autotune": ["parallel.compile=max-autotune", "parallel.recompute=1.0"],
}
ABSENT = {"wandb": "trackers=wandb", "mlflow": "trackers=mlflow"}
MIXER = "model.mixer"
"""Each is trained with by tests/models/mixers/test_pipeline_of_mixers.py."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The waves, and rain where it is warm."""
    rain = 5e-4 * np.maximum(waves()[:, :1] - 280.0, 0.0)
    fields_TCHW = np.concatenate([waves(), rain], axis=1)
    return write_store(tmp_path_factory.mktemp("options") / "store.zarr", TIMES, fields_TCHW, (*CHANNELS, "tp06"))


@pytest.fixture(scope="module")
def default() -> DictConfig:
    config = OmegaConf.structured(composed("train"))
    assert isinstance(config, DictConfig)
    return config


def configured(default: DictConfig, changes: list[str], **names: Path) -> TrainConfig:
    """The default configuration with ``changes``, in which ``names`` are filled in."""
    lines = [line.format(**names) if "{" in line else line for line in BASE + changes]
    config = OmegaConf.to_object(OmegaConf.merge(default, *map(as_config, lines)))
    assert isinstance(config, TrainConfig)
    return config


def as_config(line: str) -> DictConfig:
    """``a.b=value`` as a configuration, the value as in a file under conf/."""
    key, text = line.split("=", 1)
    *above, last = key.split(".")
    nested = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(above))
    return OmegaConf.create(f"{nested}{'  ' * len(above)}{last}: {text}")


def require_finite(run: Path, steps: int) -> None:
    """Every step was made, and what came of it is finite."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == steps
    assert all(math.isfinite(loss) for loss in losses)
    last = [line for line in lines if "validation_loss" in line][-1]
    assert all(value is not None and math.isfinite(value) for value in last.values())
    for path in (run / "checkpoints").glob("step_*"):
        assert all(torch.isfinite(value).all() for value in tensors_of(path, "").values())


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_options(name: str, default: DictConfig, store: Path, tiny_run: Path, tmp_path: Path) -> None:
    changes = (CASES | SLOW)[name]
    run = train(configured(default, changes, store=store, output=tmp_path / "run", start=tiny_run))
    require_finite(run, 2)


@pytest.mark.parametrize("package", ABSENT)
def test_trackers_that_may_be_absent(
    package: str, default: DictConfig, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = configured(default, [ABSENT[package]], store=store, output=tmp_path / "run")
    if importlib.util.find_spec(package) is None:
        with pytest.raises(InputError, match=package):
            train(config)
    else:
        require_finite(train(config), 2)


def leaves(config: object, prefix: str = "") -> dict[str, Any]:
    """Every key of a configuration and the dataclass it belongs to."""
    found: dict[str, Any] = {}
    for field in fields(config):  # type: ignore[arg-type]
        value, key = getattr(config, field.name), prefix + field.name
        inside = is_dataclass(value) and key != MIXER
        found |= leaves(value, f"{key}.") if inside else {key: type(config)}
    return {key: section for key, section in found.items() if key != MIXER}


def tried() -> dict[str, list[Any]]:
    """Every key that a case sets, and the values it has in one."""
    found: dict[str, list[Any]] = {}
    for line in [*BASE, *(line for case in (CASES | SLOW).values() for line in case), *ABSENT.values()]:
        key, text = line.split("=", 1)
        found.setdefault(key, []).append(text)
    return {key: values for key, values in found.items() if not key.startswith(MIXER)}


def test_every_option_is_in_a_case() -> None:
    assert set(leaves(TrainConfig())) == set(tried())


def test_every_value_of_an_enumeration_is_in_a_case() -> None:
    """What an option may be named is taken from what is said of a wrong name."""
    enumerations: dict[str, set[str]] = {}
    for key, section in leaves(TrainConfig()).items():
        try:
            section(**{key.rpartition(".")[2]: "?"})
        except (InputError, TypeError, AttributeError) as error:  # not all keys take a word
            match = re.search(r"must be one of (.*), found '\?'", str(error))
            if match:
                enumerations[key] = set(match[1].split(", "))
    assert {"precision", "loss.name", "optim.schedule", "parallel.compile", "trackers"} <= enumerations.keys()
    values = tried()
    assert [(key, name) for key, allowed in enumerations.items() for name in allowed - set(values[key])] == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_a_step(name: str, store: Path, tiny_run: Path, tmp_path: Path) -> None:
    """As configured but for sizes, periods and where things are."""
    where = [f"data.store={store}", f"output={tmp_path / 'run'}", "data.channels=[t2m,z500]", "data.train_start=null"]
    fewer = ["data.validation_end=null", "steps=1", "log_every=1", "validation_samples=2"]
    preset = composed("train", f"+experiment/train={name}")
    assert isinstance(preset, TrainConfig)
    origins = [f"{key}={tiny_run}" for key in ("start_from", "backbone") if getattr(preset, key) is not None]
    blocks = "model.mixer.num_blocks=2"
    tiny = [override for override in OVERRIDES if override != blocks or isinstance(preset.model.mixer, AFNOConfig)]
    config = composed("train", f"+experiment/train={name}", *tiny, *where, *fewer, *origins)
    assert isinstance(config, TrainConfig)
    assert (config.optim, config.loss, config.precision) == (preset.optim, preset.loss, preset.precision)
    run = train(config)
    require_finite(run, 1)
    assert load_card(run).kind == ("forecast" if preset.backbone is None else "precipitation")


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        (["rollout.steps=2"], [(0, 2)]),
        (["rollout.steps={40000: 3}"], [(0, 1), (40000, 3), (50000, 4)]),  # stages are merged
        (["rollout.steps=1", "rollout.steps={0: 1, 30: 2}"], [(0, 1), (30, 2)]),  # but not with a number
    ],
)
def test_the_rollout_of_a_preset_can_be_changed(overrides: list[str], stages: list[tuple[int, int]]) -> None:
    config = composed("train", "+experiment/train=era5_5p6deg", *overrides)
    assert isinstance(config, TrainConfig)
    assert config.rollout.stages == stages


def test_a_plateau_lowers_the_learning_rate(default: DictConfig, store: Path, tmp_path: Path) -> None:
    """A rate this small changes no weight, so the first validation stays the best: the second and third halve it."""
    changes = [
        "optim.schedule=plateau", "optim.plateau_patience=1", "optim.plateau_factor=0.5", "optim.learning_rate=1e-30",
        "validate_every=1", "steps=4",
    ]  # fmt: skip
    run = train(configured(default, changes, store=store, output=tmp_path / "run"))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert rates == pytest.approx([1e-30, 1e-30, 5e-31, 2.5e-31])
    newest = run / "checkpoints/step_00000004"
    assert read_json(newest / "position.json")["plateau"]["factor"] == 0.125
    assert find_checkpoint(run).name == "step_00000001"


def test_a_profile_is_written(default: DictConfig, store: Path, tmp_path: Path) -> None:
    run = train(configured(default, ["profile_steps=1", "steps=5"], store=store, output=tmp_path / "run"))
    require_finite(run, 5)
    trace = json.loads((run / "profile/trace.json").read_text())
    assert trace["traceEvents"]
    assert "aten::" in (run / "profile/operators.txt").read_text()


def test_an_average_is_kept_where_one_is_asked_for(default: DictConfig, store: Path, tmp_path: Path) -> None:
    averages = {}
    for decay in ("null", "0.9"):
        run = train(configured(default, [f"optim.ema_decay={decay}"], store=store, output=tmp_path / decay))
        averages[decay] = tensors_of(run / "checkpoints/step_00000002", "average.").keys()
    own = {name for name, _ in build(load_card(run)).named_parameters()}
    assert averages == {"null": set(), "0.9": own}


def test_fp16_keeps_its_scale_in_the_checkpoint(default: DictConfig, store: Path, tmp_path: Path) -> None:
    run = train(configured(default, ["precision=fp16"], store=store, output=tmp_path / "run"))
    scale = read_json(run / "checkpoints/step_00000002/position.json")["scale"]
    assert scale["dynamic"]
    assert math.log2(scale["value"]).is_integer()
