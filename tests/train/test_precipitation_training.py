"""Training a precipitation model on a frozen backbone: what it learns from what, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS, TIMES, model_config, tensors_of, train_config, waves, write_store
from torch import Tensor

from fourcast.checkpoint import build, load_card, load_model, save_checkpoint
from fourcast.config import DataConfig, TrainConfig
from fourcast.errors import InputError
from fourcast.models.precipitation import log_precipitation
from fourcast.train.loop import train
from fourcast.train.objective import Draw, Precipitation, make_objective
from fourcast.train.prepare import prepare
from fourcast.train_config import OptimConfig, RolloutConfig

DATA = DataConfig(train_end="2026-08-08", validation_start="2026-08-09")
DRAW = Draw(0, 0, range(2))
CPU = torch.device("cpu")


def rainy() -> np.ndarray:
    """[T, 3, H, W]: the waves, and up to 5 mm of rain where it is warmer than 280 K."""
    fields = waves()
    rain = 5e-4 * np.maximum(fields[:, :1] - 280.0, 0.0)
    return np.concatenate([fields, rain], axis=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("rainy") / "store.zarr", TIMES, rainy(), (*CHANNELS, "tp06"))


@pytest.fixture(scope="module")
def backbone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of training on temperature and geopotential alone."""
    return train(
        train_config(
            store, tmp_path_factory.mktemp("backbone") / "run", data=data(store, channels=list(CHANNELS)), steps=30,
            model=model_config(target="residual"), optim=OptimConfig(learning_rate=1e-2),
        )
    )  # fmt: skip


def data(store: Path, **changes: object) -> DataConfig:
    return replace(DATA, store=[str(store)], **changes)  # type: ignore[arg-type]


@pytest.fixture
def config(store: Path, backbone: Path, tmp_path: Path) -> TrainConfig:
    return train_config(store, tmp_path / "run", data=data(store), backbone=str(backbone))


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_card_has_the_states_of_the_backbone(config: TrainConfig, backbone: Path) -> None:
    card, other = load_card(train(config)), load_card(backbone)
    assert (card.kind, card.in_channels, card.out_channels) == ("precipitation", 2, 1)
    assert (card.channels, card.mean, card.std) == (list(CHANNELS), other.mean, other.std)
    assert card.step_scale is None
    assert card.provenance["backbone"]["checkpoint"].startswith(str(backbone))
    assert load_model(config.output)(torch.zeros(1, 2, 8, 16)).shape == (1, 1, 8, 16)


def test_rain_where_it_is_warm_is_learnt_and_the_backbone_stays(config: TrainConfig, backbone: Path) -> None:
    before = tensors_of(next((backbone / "checkpoints").glob("step_*30")), "")
    run = train(replace(config, steps=80, log_every=20, optim=OptimConfig(learning_rate=1e-2)))
    losses = [entry["loss"] for entry in log(run) if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    last = log(run)[-1]
    assert last["validation_loss"] < 0.7 * last["persistence_loss"]
    after = tensors_of(next((backbone / "checkpoints").glob("step_*30")), "")
    assert all(torch.equal(before[name], after[name]) for name in before)
    state = prepare(config).normalisation(CPU)(torch.from_numpy(rainy()[30]))[:2]
    logarithm = load_model(run)(state[None])[0, 0]
    assert logarithm[state[0] > 0.5].mean() > logarithm[state[0] < -0.5].mean() + 1


def test_scores_are_in_metres(config: TrainConfig) -> None:
    """Climatology of 6-hour rain up to 5 mm errs by millimetres; in logarithms it would err by units."""
    last = log(train(replace(config, steps=2)))[-1]
    assert "rmse/tp06/6h" in last
    assert 1e-6 < last["rmse/tp06/6h"] < 5e-3
    # Validation compares logarithms: with persistence, by hand, those of consecutive analyses.
    fields = rainy()[32:, 2]  # from 9 August
    logs = np.log1p(fields / 1e-5)
    norms = np.linalg.norm((logs[:-1] - logs[1:]).reshape(len(logs) - 1, -1), axis=1)
    relative = norms / np.linalg.norm(logs[1:].reshape(len(logs) - 1, -1), axis=1)
    assert last["persistence_loss"] == pytest.approx(relative.mean(), rel=1e-4)


def test_the_target_is_the_rain_at_the_time_of_the_prediction(config: TrainConfig) -> None:
    """The backbone turns the first state into the second; the model sees that, and is compared with its rain."""

    class Plus(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] == 2  # the rain is not shown to it
            return x + 1.0

    class First(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1]

    states = torch.randn(2, 2, 3, 8, 16)
    states[:, :, 2] = torch.rand(2, 2, 8, 16) * 1e-3
    objective = make_objective(prepare(config), CPU)
    assert isinstance(objective, Precipitation)
    ((predictions, targets),) = replace(objective, backbone=Plus()).predictions(First(), states, DRAW)
    torch.testing.assert_close(predictions, states[:, 0, :1] + 1)
    torch.testing.assert_close(targets, torch.log(1 + states[:, 1, 2:] / 1e-5))
    assert (objective.inputs, objective.channels) == ((*CHANNELS, "tp06"), ("tp06",))


def test_no_gradient_reaches_the_backbone(config: TrainConfig) -> None:
    task = prepare(config)
    objective = make_objective(task, CPU)
    assert isinstance(objective, Precipitation)
    assert not objective.backbone.training
    states = task.normalisation(CPU)(torch.from_numpy(rainy()[:2])[None])
    assert states[0, :, 2].equal(torch.from_numpy(rainy()[:2, 2]))  # metres
    model = build(task.card)
    objective(model, states, DRAW).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in objective.backbone.parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert log_precipitation(states[:, 1, 2:]).max() == pytest.approx(np.log1p(5e-3 / 1e-5), rel=0.01)


def test_resuming_ends_with_the_same_bits(config: TrainConfig, tmp_path: Path) -> None:
    straight = replace(config, checkpoint_every=3, model=model_config(drop_rate=0.2))
    run = train(straight)
    resumed = Path(shutil.copytree(run, tmp_path / "resumed"))
    shutil.rmtree(resumed / "checkpoints/step_00000006")
    (resumed / "best.json").unlink()
    train(replace(straight, output=str(resumed)))
    first, second = (tensors_of(path / "checkpoints/step_00000006", "") for path in (run, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_can_start_from_a_precipitation_model(config: TrainConfig, tmp_path: Path) -> None:
    first = train(config)
    slow = OptimConfig(learning_rate=1e-9)
    second = train(replace(config, output=str(tmp_path / "again"), start_from=str(first), steps=1, optim=slow))
    after = tensors_of(second / "checkpoints/step_00000001")
    for name, value in tensors_of(first / "checkpoints/step_00000006").items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)


def saved(path: Path, **changes: object) -> str:
    card = replace(CARD, **changes)  # type: ignore[arg-type]
    save_checkpoint(path, build(card), card)
    return str(path)


@pytest.mark.parametrize(
    ("backbone_changes", "message"),
    [
        ({"model": model_config(noise_channels=1)}, "backbone=.* sees noise, where precipitation needs one certain"),
        ({"kind": "precipitation", "out_channels": 1}, "backbone=.* is a precipitation model, expected a forecast"),
        ({"mean": None}, "knows no channel names or statistics; import the weights again"),
        ({"step_hours": 12}, "steps 12 h, the data 6 h"),
        ({"channels": ["t2m", "z850"]}, "has no channel z850; it holds t2m, z500, tp06"),
        ({"channels": ["t2m", "tp06"]}, "backbone=.* forecasts tp06 itself; train it with data.channels= without it"),
    ],
)
def test_backbones_that_do_not_serve_are_refused(
    config: TrainConfig, tmp_path: Path, backbone_changes: dict[str, object], message: str
) -> None:
    path = saved(tmp_path / "backbone", **backbone_changes)
    with pytest.raises(InputError, match=message):
        train(replace(config, backbone=path))
    assert not Path(config.output).exists()


def test_requests_that_make_no_sense_are_refused(
    config: TrainConfig, tiny_store: Path, backbone: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"one step ahead: set rollout\.steps=1"):
        train(replace(config, rollout=RolloutConfig({0: 1, 3: 2})))
    with pytest.raises(InputError, match="has no channel tp06; it holds t2m, z500"):
        train(replace(config, data=data(tiny_store)))
    with pytest.raises(InputError, match=r"start_from=.* is a forecast model, expected a precipitation model"):
        train(replace(config, start_from=str(backbone)))
    other = saved(tmp_path / "other", kind="precipitation", out_channels=1, step_scale=None, model=model_config())
    with pytest.raises(InputError, match=r"other does not fit .*: .*std of t2m"):
        train(replace(config, start_from=other))
    with pytest.raises(InputError, match=r"data\.channels must be those of the checkpoint, t2m, z500, or not be given"):
        train(replace(config, data=data(Path(config.data.store[0]), channels=["t2m"])))
    assert not Path(config.output).exists()
