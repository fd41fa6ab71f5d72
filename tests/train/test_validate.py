"""Validation against numbers worked out by hand, and against ``fourcast verify``."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CHANNELS, GRID, TIMES, train_config, waves
from torch import Tensor, nn

from fourcast.config import DataConfig, TrainConfig
from fourcast.data.climatology import Climatology
from fourcast.data.dataset import Normalisation, Span, Windows
from fourcast.data.series import open_series
from fourcast.distributed import Process
from fourcast.grid import area_weights
from fourcast.models.precipitation import log_precipitation, precipitation
from fourcast.train.objective import Draw, Rollout
from fourcast.train.prepare import prepare
from fourcast.train.scoring import Validation, zonal_power
from fourcast.train.validate import HeldOut, Units, held_out, samples, shares, validate
from fourcast.verify.area_means import whole
from fourcast.verify.conventions import CONVENTIONS
from fourcast.verify.scores import Fields, score

CPU = torch.device("cpu")
ALONE = Process(0, 1, 0, 1, CPU)
WEIGHTS = area_weights(GRID.latitude)
CENTER, SCALE = np.array([280.0, 54000.0], np.float32), np.array([10.0, 1500.0], np.float32)
SQUARED_ENVELOPE = float((WEIGHTS * np.cos(np.deg2rad(GRID.latitude)) ** 2).mean())
"""Area mean of the square of the waves' amplitude, in units of 10 K and 1500 m2 s-2."""


def mean_square_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Over samples, and over members, which are adjacent."""
    return ((predictions - targets.repeat_interleave(len(predictions) // len(targets), dim=0)) ** 2).mean()


@dataclass
class Shifted:
    """An objective whose every prediction is the truth and ``error`` [C, H, W] besides; it counts its calls."""

    error: Tensor
    channels: tuple[str, ...] = CHANNELS
    inputs: tuple[str, ...] = CHANNELS
    members: int = 1
    calls: list[tuple[int, list[int]]] = field(default_factory=list)

    def predictions(self, model: nn.Module, states_BSCHW: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
        self.calls.append((len(states_BSCHW), list(draw.places)))
        signs = torch.tensor([1.0, 3.0])[: self.members].view(1, -1, 1, 1, 1)
        for target in states_BSCHW[:, 1:].unbind(1):
            yield (target[:, None] + signs * self.error).flatten(0, 1), target


def data_of(store: Path, objective: object, steps: int = 3, **changes: object) -> HeldOut:
    """Held-out windows of the tiny planet, whose climatology is 280 K and 54000 m2 s-2 everywhere."""
    series = open_series([str(store)])
    settings: dict[str, object] = {"batch_size": 4, "validation_steps": steps, "validation_samples": 5}
    config = TrainConfig(data=DataConfig(store=str(store)), **(settings | changes))  # type: ignore[arg-type]
    center, scale = (torch.from_numpy(values.copy())[:, None, None] for values in (CENTER, SCALE))
    normalise = Normalisation(center, scale)
    climate = np.broadcast_to(CENTER[:, None, None], (4, 1, 2, *GRID.shape))
    return HeldOut(
        config=config,
        windows=Windows(series, CHANNELS, [(None, None)], Span(1, steps), in_memory=True),
        times=series.times,
        climatology=Climatology(np.array([0, 6, 12, 18]), climate),
        grid=GRID,
        step_hours=6,
        objective=objective,  # type: ignore[arg-type]
        loss=mean_square_error,
        normalise=normalise,
        units=Units(lambda fields: normalise(fields.clone()), lambda fields: fields * scale + center),
        steps=steps,
    )


def error(**rows: float) -> Tensor:
    """Errors in physical units, normalised: of all rows, or of the rows named as in row3=…, of both channels."""
    values = torch.zeros(2, *GRID.shape)
    for name, size in rows.items():
        values[:, slice(None) if name == "everywhere" else int(name.removeprefix("row"))] = size
    return values / torch.from_numpy(SCALE)[:, None, None]


def run(data: HeldOut, loss_steps: int = 1, process: Process = ALONE) -> Validation:
    return validate(nn.Identity(), data, loss_steps, process)


def test_an_offset_is_the_rmse_and_a_perfect_forecast_correlates_fully(tiny_store: Path) -> None:
    offset = run(data_of(tiny_store, Shifted(error(everywhere=-3.0))))
    assert offset.rmse["model"] == pytest.approx(np.full((3, 2), 3.0), rel=1e-2)  # float32 of 54000 m2 s-2
    perfect = run(data_of(tiny_store, Shifted(error())))
    assert perfect.rmse["model"] == pytest.approx(np.zeros((3, 2)), abs=0.01)
    assert perfect.acc["model"] == pytest.approx(np.ones((3, 2)))
    assert perfect.losses["validation_loss"] == 0
    # ACC of p = t - 3 with Σ t² = a and Σ t = 0: a / √(a (a + 9)), for t2m with a = 100 env² / 2.
    a = 50 * SQUARED_ENVELOPE
    assert offset.acc["model"][:, 0] == pytest.approx(a / np.sqrt(a * (a + 9)), rel=1e-5)


def test_persistence_and_climatology_of_travelling_waves(tiny_store: Path) -> None:
    found = run(data_of(tiny_store, Shifted(error())), loss_steps=2)
    # cos(x − φ) − cos(x) has the mean square 1 − cos φ; φ is wavenumber times 22.5° a step. Σ p't' is cos φ / 2.
    phase = np.deg2rad(22.5) * np.outer([1, 2, 3], [1, 2])
    amplitude = np.array([10.0, 1500.0]) * np.sqrt(SQUARED_ENVELOPE)
    assert found.rmse["persistence"] == pytest.approx(amplitude * np.sqrt(1 - np.cos(phase)), rel=1e-5)
    assert found.acc["persistence"] == pytest.approx(np.cos(phase), abs=1e-5)
    assert found.rmse["climatology"] == pytest.approx(np.broadcast_to(amplitude / np.sqrt(2), (3, 2)), rel=1e-5)
    assert set(found.acc) == {"model", "persistence"}
    # The loss is not weighted by area: the mean of env² is that of cos² over the rows.
    plain = float((np.cos(np.deg2rad(GRID.latitude)) ** 2).mean())
    assert found.losses["persistence_loss"] == pytest.approx(plain * (1 - np.cos(phase[:2])).mean(), rel=1e-5)


def test_the_log_gets_the_last_lead_time(tiny_store: Path) -> None:
    found = run(data_of(tiny_store, Shifted(error(everywhere=1.0))))
    assert found.lead_hours == (6, 12, 18)
    names = {"validation_loss", "persistence_loss", *(f"{s}/{c}/18h" for s in ("rmse", "acc") for c in CHANNELS)}
    assert set(found.scores) == names
    assert found.scores["rmse/t2m/18h"] == found.rmse["model"][2, 0]
    assert found.scores["acc/z500/18h"] == found.acc["model"][2, 1]


def test_an_error_in_one_row_counts_by_its_area(tiny_store: Path) -> None:
    for row in (0, 3, 7):
        found = run(data_of(tiny_store, Shifted(error(**{f"row{row}": 6.0}))))
        assert found.rmse["model"][:, 0] == pytest.approx(6 * np.sqrt(WEIGHTS[row] / 8), rel=1e-4)


def test_scores_are_those_of_verification(tiny_store: Path) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(2, 2, 3, padding=1)
    objective = Rollout(CHANNELS, CHANNELS, mean_square_error, "fp32")
    data = data_of(tiny_store, objective, steps=2)
    series = open_series([str(tiny_store)])
    data = replace(data, climatology=series.first.climatology(CHANNELS))
    found = validate(model, data, 2, ALONE)
    statistics = []
    losses = []
    for index in samples(len(data.windows), 5):
        window = waves()[index : index + 3]
        state = torch.from_numpy((window[:1] - CENTER[:, None, None]) / SCALE[:, None, None])
        for lead in (1, 2):
            with torch.no_grad():
                state = model(state)
            normalised = state[0].numpy()
            losses.append(((normalised - (window[lead] - CENTER[:, None, None]) / SCALE[:, None, None]) ** 2).mean())
            forecast = normalised * SCALE[:, None, None] + CENTER[:, None, None]
            climate = data.climatology.at(TIMES[index + lead : index + lead + 1])[0]
            for c in (0, 1):
                singles = {"model": forecast[c], "persistence": window[0, c], "climatology": climate[c]}
                fields = Fields(window[lead, c], climate[c], singles, {})
                scored = score(fields, whole(WEIGHTS, 16), CONVENTIONS["weatherbench2"], "refuse", energy=False)
                statistics.append(scored.statistics)
    shape = (5, 2, 2, 3)  # samples, leads, channels, systems
    squared, correlation = (
        np.array([list(found[name].values()) for found in statistics]).reshape(shape).mean(axis=0).transpose(2, 0, 1)
        for name in ("squared_error", "anomaly_correlation")
    )
    for place, system in enumerate(("model", "persistence", "climatology")):
        assert found.rmse[system] == pytest.approx(np.sqrt(squared[place]), rel=1e-4, abs=1e-3)
    for place, system in enumerate(("model", "persistence")):
        assert found.acc[system] == pytest.approx(correlation[place], rel=1e-4)
    assert found.losses["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found.example is not None
    assert (found.example.init_time, found.example.valid_time) == (TIMES[0], TIMES[2])
    assert found.example.analysis == pytest.approx(waves()[2])


@dataclass(frozen=True)
class Rank(Process):
    """One of several processes; what it adds up with the others is noted in ``sent``, and the others send ones."""

    sent: list[Tensor] = field(default_factory=list)

    def sum(self, value: Tensor) -> Tensor:
        self.sent.append(value.clone())
        return value + 1


@pytest.mark.parametrize(("count", "batch"), [(5, 4), (7, 64), (1, 2), (6, 2)])
def test_sums_do_not_depend_on_how_samples_are_split(tiny_store: Path, count: int, batch: int) -> None:
    torch.manual_seed(1)
    sent: dict[int, list[Tensor]] = {}
    for world in (1, 2):
        calls = []
        sent[world] = []
        for rank in range(world):
            objective = Shifted(torch.randn(2, *GRID.shape, generator=torch.Generator().manual_seed(3)), members=2)
            data = data_of(tiny_store, objective, validation_samples=count, batch_size=batch)
            process = Rank(rank, world, rank, world, CPU)
            run(data, loss_steps=2, process=process)
            sent[world].append(process.sent[0])
            calls.append([size for size, _ in objective.calls])
        # Sharded models wait for each other at every call, and compiled ones are made for one size.
        assert all(sizes == calls[0] for sizes in calls)
        assert len(set(calls[0])) == 1
        assert calls[0][0] <= max(batch // world, 1)
    torch.testing.assert_close(sum(sent[2]), sent[1][0], rtol=1e-6, atol=1e-9)
    assert sent[1][0][3] == count


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize(("world", "most"), [(1, 5), (2, 2), (3, 4), (4, 1)])
def test_every_sample_has_one_place(count: int, world: int, most: int) -> None:
    chunks = [shares(count, Process(rank, world, rank, world, CPU), most) for rank in range(world)]
    places = sorted(place for own in chunks for chunk in own for place in chunk)
    assert places == list(range(len(places)))
    assert count <= len(places) < count + world * len(chunks[0]) + world
    assert {len(chunk) for own in chunks for chunk in own} == {len(chunks[0][0])}
    assert len(chunks[0][0]) <= most


def test_samples_are_evenly_spaced() -> None:
    assert samples(11, 3) == [0, 5, 10]
    assert samples(2, 256) == [0, 1]


def test_scores_of_an_ensemble_are_of_its_mean(tiny_store: Path) -> None:
    # Errors of 1 and 3: the mean errs by 2. The loss is a mean over members: (1 + 9) / 2 in normalised squares.
    found = run(data_of(tiny_store, Shifted(error(everywhere=1.0) * 10, members=2)))
    assert found.rmse["model"][:, 0] == pytest.approx(20.0, rel=1e-4)
    squares = ((1 / SCALE.astype(float)) ** 2).mean() * 100
    assert found.losses["validation_loss"] == pytest.approx(5 * squares, rel=1e-3)
    assert found.example is not None
    assert found.example.forecast - found.example.analysis == pytest.approx(np.full((2, 8, 16), 10.0), abs=0.05)


def test_precipitation_is_scored_in_metres(tiny_store: Path) -> None:
    @dataclass
    class Twice:
        """Predicts twice the precipitation, which is the last channel of a window."""

        channels: tuple[str, ...] = ("z500",)

        def predictions(self, model: nn.Module, states: Tensor, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
            metres = states[:, 1, -1:]
            yield log_precipitation(2 * metres), log_precipitation(metres)

    data = data_of(tiny_store, Twice(), steps=1)
    data = replace(
        data,
        climatology=Climatology(data.climatology.hours, np.zeros((4, 1, 1, *GRID.shape), np.float32)),
        normalise=Normalisation(torch.zeros(2, 1, 1), torch.ones(2, 1, 1)),
        units=Units(log_precipitation, precipitation),
    )
    found = run(data)
    amounts = waves()[np.array(samples(39, 5))[:, None] + [0, 1], 1].astype(float)
    mean_square = (((amounts[:, 1] ** 2).mean(axis=-1)) * WEIGHTS).mean()
    assert found.rmse["model"] == pytest.approx(np.sqrt([[mean_square]]), rel=1e-4)
    assert found.rmse["climatology"] == pytest.approx(np.sqrt([[mean_square]]), rel=1e-4)
    logarithms = np.log1p(amounts / 1e-5)
    expected = ((logarithms[:, 0] - logarithms[:, 1]) ** 2).mean()
    assert found.losses["persistence_loss"] == pytest.approx(expected, rel=1e-2)
    assert found.acc["model"] == pytest.approx(np.ones((1, 1)))


@pytest.mark.parametrize("width", [16, 15])
def test_zonal_power_keeps_the_mean_square(width: int) -> None:
    torch.manual_seed(2)
    fields = torch.randn(3, 8, width)
    weights = torch.from_numpy(WEIGHTS)
    power = zonal_power(fields, weights)
    assert power.shape == (3, width // 2 + 1)
    square = (fields.double() ** 2).mean(-1)
    torch.testing.assert_close(power.sum(-1), (square * weights).mean(-1), rtol=1e-5, atol=0)
    wave = 10 * torch.cos(3 * 2 * torch.pi * torch.arange(width) / width).expand(1, 8, width)
    expected = torch.zeros(width // 2 + 1, dtype=torch.float64)
    expected[3] = 50.0
    torch.testing.assert_close(zonal_power(wave, weights)[0], expected, rtol=1e-5, atol=1e-5)


def test_spectra_show_what_a_model_smooths(tiny_store: Path) -> None:
    class Smooth(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + x.roll(1, -1) + x.roll(-1, -1)) / 3

    objective = Rollout(CHANNELS, CHANNELS, mean_square_error, "fp32")
    found = validate(Smooth(), data_of(tiny_store, objective), 1, ALONE)
    # Wave k shrinks by (1 + 2 cos(k 22.5°)) / 3 a step, its power by the square.
    for channel, wavenumber in ((0, 1), (1, 2)):
        factor = ((1 + 2 * np.cos(np.deg2rad(22.5 * wavenumber))) / 3) ** 2
        ratio = found.power[0, :, channel, wavenumber] / found.power[1, :, channel, wavenumber]
        assert ratio == pytest.approx([factor, factor**2, factor**3], rel=1e-3)


def test_what_a_task_holds_out_is_normalised_and_back(tiny_store: Path, tmp_path: Path) -> None:
    task = prepare(train_config(tiny_store, tmp_path / "run", validation_steps=2))
    data = held_out(task, Rollout(CHANNELS, CHANNELS, mean_square_error, "fp32"), CPU)
    assert (data.steps, data.step_hours, data.windows.shape) == (2, 6, (3, 2, *GRID.shape))
    fields = torch.from_numpy(waves()[:2])
    before = fields.clone()
    normalised = data.units.to_loss(fields)
    assert torch.equal(fields, before)
    assert normalised.abs().max() < 3
    torch.testing.assert_close(data.units.to_physical(normalised), fields, rtol=1e-6, atol=0)
    found = run(data)
    assert found.rmse["model"] == pytest.approx(found.rmse["persistence"], rel=1e-4)
    assert found.losses["validation_loss"] == pytest.approx(found.losses["persistence_loss"])
    assert found.example is not None
    assert found.example.init_time == np.datetime64("2026-08-09T00")


def test_the_model_goes_back_to_training(tiny_store: Path) -> None:
    seen = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    model = Watched()
    found = validate(model, data_of(tiny_store, Rollout(CHANNELS, CHANNELS, mean_square_error, "fp32")), 1, ALONE)
    assert set(seen) == {(False, False)}
    assert model.training
    assert found.rmse["model"] == pytest.approx(found.rmse["persistence"], rel=1e-5)
