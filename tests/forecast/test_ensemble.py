"""fourcast forecast: which files a run makes, what is in them, and which requests it refuses before it starts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import netCDF4
import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS, GRID, INIT, TIMES, forecast_config, waves, write_store

from fourcast.checkpoint import build, save_checkpoint
from fourcast.config import EnsembleConfig, ForecastConfig
from fourcast.errors import InputError
from fourcast.files import read_json
from fourcast.forecast import open_ensemble, prepare
from fourcast.forecast.batching import Batching
from fourcast.forecast.ensemble import allow_files, forecast
from fourcast.forecast_config import CorrelatedConfig
from fourcast.grid import Grid


@pytest.fixture
def config(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> ForecastConfig:
    return forecast_config(tiny_run, tiny_store, tmp_path / "RUN")


@pytest.fixture(scope="module")
def full(tiny_run: Path, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four members in batches of three from two initial times; read only."""
    given = forecast_config(tiny_run, tiny_store, tmp_path_factory.mktemp("full") / "RUN")
    ensemble = EnsembleConfig(size=4, batch_size=3)
    return forecast(replace(given, init_times=[INIT, "2026-08-06T12"], ensemble=ensemble))


def member(run: Path, number: int, init: str = INIT) -> dict[str, np.ndarray]:
    with netCDF4.Dataset(run / init / f"member_{number:03d}.nc") as file:
        return {name: np.asarray(file[name][:]) for name in ("t2m", "z", "time", "forecast_period")}


def changed(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*.nc")}


def test_a_run_is_one_file_for_each_initial_time_and_member(full: Path) -> None:
    expected = {f"{init}/member_00{m}.nc" for init in (INIT, "2026-08-06T12") for m in range(4)}
    assert {str(path.relative_to(full)) for path in full.rglob("*") if path.is_file()} == expected | {"forecast.json"}
    run = open_ensemble(full)
    assert run.sizes["number"] == 4
    assert run.attrs["channels"] == CHANNELS
    assert run.attrs["comment"].startswith("SYNTHETIC")


def test_the_forecast_starts_from_the_analysis_plus_noise(full: Path) -> None:
    analysis = waves()[16]  # four days of four analyses
    control, disturbed = member(full, 0), member(full, 3)
    np.testing.assert_allclose(control["t2m"][0], analysis[0], rtol=1e-6)
    np.testing.assert_allclose(control["z"][0, 0], analysis[1], rtol=1e-6)
    # Noise of 0.3 standard deviations over 128 points; area-weighted deviations of the waves lie near these.
    for name, channel in (("t2m", 0), ("z", 1)):
        noise = disturbed[name][0].squeeze() - analysis[channel]
        assert noise.std() == pytest.approx(0.3 * waves()[:, channel].std(), rel=0.4)
    assert control["forecast_period"].tolist() == [0, 6, 12]
    first = np.datetime64(INIT, "h").astype(int)
    assert control["time"].tolist() == [first, first + 6, first + 12]


def test_members_differ_and_go_apart_from_the_control(full: Path) -> None:
    fields = [member(full, number)["t2m"] for number in range(4)]
    assert all(not np.array_equal(fields[a], fields[b]) for a in range(4) for b in range(a))


def test_a_member_made_alone_is_that_of_the_whole_run(config: ForecastConfig, full: Path) -> None:
    run = forecast(replace(config, ensemble=EnsembleConfig(size=4, members=[3], batch_size=1)))
    assert [path.name for path in run.rglob("*.nc")] == ["member_003.nc"]
    alone, whole = member(run, 3), member(full, 3)
    assert np.array_equal(alone["t2m"][0], whole["t2m"][0])
    for name in ("t2m", "z"):
        np.testing.assert_allclose(alone[name], whole[name], rtol=1e-5)


def test_a_finished_run_is_left_alone(config: ForecastConfig) -> None:
    before = changed(forecast(config))
    assert changed(forecast(config)) == before


def test_an_interrupted_run_ends_with_the_same_bits(config: ForecastConfig) -> None:
    run = forecast(config)
    whole, before = [member(run, number) for number in range(4)], changed(run)
    for number in (0, 2):
        (run / INIT / f"member_00{number}.nc").unlink()
    forecast(config)
    for number in range(4):
        for name, values in member(run, number).items():
            assert np.array_equal(values, whole[number][name]), (number, name)
    kept = run / INIT / "member_001.nc"
    assert kept.stat().st_mtime_ns == before[kept]


def test_a_run_of_another_configuration_is_kept_or_replaced_as_asked(config: ForecastConfig) -> None:
    before = changed(forecast(config))
    (Path(config.output) / "left.txt").touch()
    other = replace(config, ensemble=EnsembleConfig(size=2, seed=5))
    with pytest.raises(InputError, match=r"holds another forecast .*; choose another output= or pass overwrite=true"):
        forecast(other)
    assert changed(Path(config.output)) == before
    run = forecast(replace(other, overwrite=True))
    assert {path.name for path in run.rglob("*") if path.is_file()} == {
        "member_000.nc", "member_001.nc", "forecast.json",
    }  # fmt: skip


def test_a_store_of_the_same_name_and_other_data_is_another_configuration(
    config: ForecastConfig, tiny_store: Path, tmp_path: Path
) -> None:
    forecast(config)
    other = write_store(tmp_path / tiny_store.name, TIMES, waves(), attributes={"history": "made later"})
    with pytest.raises(InputError, match="holds another forecast"):
        forecast(replace(config, store=str(other)))


def test_a_selection_of_variables_is_written(config: ForecastConfig) -> None:
    run = forecast(replace(config, variables=["z"], ensemble=EnsembleConfig()))
    assert read_json(run / "forecast.json")["channels"] == ["z500"]
    assert set(open_ensemble(run).data_vars) == {"z"}


def test_initial_times_can_be_a_series_to_the_end_of_a_day(config: ForecastConfig) -> None:
    series = {"init_times": None, "init_start": "2026-08-05", "init_end": "2026-08-06", "init_every_hours": 12}
    run = forecast(replace(config, lead_hours=6, ensemble=EnsembleConfig(), **series))
    assert sorted(path.name for path in run.iterdir() if path.is_dir()) == [
        "2026-08-05T00", "2026-08-05T12", "2026-08-06T00", "2026-08-06T12",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lead_hours": 13}, "lead_hours=13 is no multiple of the model's step of 6 h"),
        ({"variables": ["t2m", "tcwv"]}, "the model has no tcwv; it forecasts t2m, z500"),
        ({"init_times": ["2027-01-01"]}, r"no analysis at 2027-01-01T00; it holds 40 times"),
        ({"init_times": [INIT, "2026-08-05T03"]}, "no analysis at 2026-08-05T03"),
        ({"checkpoint": "absent"}, "no checkpoint in absent"),
        ({"store": "absent.zarr"}, "no store at absent.zarr"),
        ({"device": "tpu9"}, "device must be auto, cpu or cuda, found 'tpu9'"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(
    config: ForecastConfig, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        forecast(replace(config, **change))  # type: ignore[arg-type]
    assert not Path(config.output).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": [1, 4]}, r"ensemble.members must lie in 0 … 3 \(ensemble.size\), found \[1, 4\]"),
        ({"members": [-1]}, "ensemble.members must lie in"),
        ({"members": []}, "ensemble.members must lie in"),
        ({"size": 0}, "ensemble.size must be above 0"),
        ({"seed": -1}, "ensemble.seed must not be negative"),
    ],
)
def test_bad_ensembles_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EnsembleConfig(**({"size": 4} | change))  # type: ignore[arg-type]


def test_a_store_that_does_not_fit_the_model_is_refused(config: ForecastConfig, tmp_path: Path) -> None:
    renamed = write_store(tmp_path / "renamed.zarr", TIMES, waves(), ("t2m", "z850"))
    with pytest.raises(InputError, match=r"has no channel z500; it holds t2m, z850"):
        forecast(replace(config, store=str(renamed)))
    south = Grid(GRID.latitude - 10, GRID.longitude)
    shifted = write_store(tmp_path / "shifted.zarr", TIMES, waves(), grid=south)
    with pytest.raises(InputError, match=r"has the grid 8×16 \(latitude 80 .*trained on 8×16 \(latitude 90"):
        forecast(replace(config, store=str(shifted)))
    assert not Path(config.output).exists()


def test_a_model_that_cannot_forecast_is_refused(config: ForecastConfig, tmp_path: Path) -> None:
    for changes, message in (
        ({"mean": None}, "knows no channel names or statistics"),
        ({"kind": "precipitation", "out_channels": 1}, "is a precipitation model: it diagnoses a field"),
    ):
        card = replace(CARD, **changes)  # type: ignore[arg-type]
        save_checkpoint(tmp_path / "model", build(card), card)
        with pytest.raises(InputError, match=message):
            forecast(replace(config, checkpoint=str(tmp_path / "model")))
    assert not Path(config.output).exists()


def test_an_unstable_model_leaves_no_file(config: ForecastConfig, tmp_path: Path) -> None:
    model = build(CARD)
    torch.nn.init.constant_(model.network.head.weight, 1e30)
    save_checkpoint(tmp_path / "model", model, CARD)
    with pytest.raises(InputError, match=r"is not finite at 2026-08-05T.*in t2m, z500 of member .*the model unstable"):
        forecast(replace(config, checkpoint=str(tmp_path / "model")))
    assert [path.name for path in Path(config.output).rglob("*") if path.is_file()] == ["forecast.json"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_forecast_is_never_replaced(config: ForecastConfig, kind: str) -> None:
    output = Path(config.output)
    precious = output / "thesis.txt" if kind == "folder" else output
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    with pytest.raises(InputError, match=r"(holds no forecast|is a file, not a folder); choose another output="):
        forecast(replace(config, overwrite=True))
    assert precious.read_text() == "years of work"


def test_a_run_killed_before_its_manifest_was_there_goes_on(config: ForecastConfig) -> None:
    output = Path(config.output)
    output.mkdir()
    (output / "forecast.json.elsewhere-1.partial").touch()
    assert len(list(forecast(config).rglob("member_*.nc"))) == 4


def test_a_run_goes_on_under_another_name_and_path(
    config: ForecastConfig, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changed(forecast(config).rename(Path(config.output).with_name("moved")))
    monkeypatch.chdir(tiny_store.parent)
    run = forecast(replace(config, store=tiny_store.name, output=str(Path(config.output).with_name("moved"))))
    assert changed(run) == before


def test_another_request_is_told_by_its_key(config: ForecastConfig) -> None:
    forecast(config)
    with pytest.raises(InputError, match=r"another configuration: ensemble\.size|another .*ensemble\.correlated"):
        forecast(replace(config, ensemble=EnsembleConfig(size=4, correlated=CorrelatedConfig(0.1, 5000.0))))


def test_a_member_of_a_simulated_planet_makes_the_ensemble_synthetic(config: ForecastConfig, tmp_path: Path) -> None:
    real = write_store(tmp_path / "real.zarr", TIMES, waves(), attributes={"synthetic": False})
    for name, synthetic in (("real", False), ("simulated", True)):
        card = replace(CARD, synthetic=synthetic)
        save_checkpoint(tmp_path / name, build(card), card)
    models = [str(tmp_path / "real"), str(tmp_path / "simulated")]
    both = replace(config, store=str(real), checkpoint=models, allow=["mean", "spread", "training"])
    assert open_ensemble(forecast(both)).attrs["synthetic"] == 1
    one = replace(both, checkpoint=models[:1], output=str(tmp_path / "one"))
    assert open_ensemble(forecast(one)).attrs["synthetic"] == 0


def test_more_files_than_the_system_opens_are_refused(config: ForecastConfig) -> None:
    with pytest.raises(InputError, match=r"1000000000 members' files are open together.*ulimit -n"):
        allow_files(1_000_000_000)


@pytest.mark.parametrize(
    ("exact", "members", "ranks", "expected"),
    [(True, 100, 8, 16), (True, 7, 2, 8), (False, 100, 8, 13), (True, 9, 1, 9)],
)
def test_no_rank_takes_what_another_could(
    monkeypatch: pytest.MonkeyPatch, exact: bool, members: int, ranks: int, expected: int
) -> None:
    """Calls of eight; memory for 330 members, or for nine."""
    monkeypatch.setattr(prepare, "members_at_once", lambda *_: 9 if members == 9 else 330)
    plan = SimpleNamespace(members=range(members), init_times=[INIT])
    alone = SimpleNamespace(world_size=ranks, local_world_size=ranks)
    given = ForecastConfig(init_times=[INIT])
    assert prepare.members_in_memory(given, None, plan, Batching(exact, 8, 1), alone) == expected  # type: ignore[arg-type]
