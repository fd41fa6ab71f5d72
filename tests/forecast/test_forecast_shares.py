"""Shares of one run, as array jobs make them: together they are the run that one process makes."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import netCDF4
import pytest
from tiny import INIT, forecast_config

from fourcast.config import EnsembleConfig, FilesConfig, ForecastConfig, ProductsConfig
from fourcast.distributed import process_group
from fourcast.errors import InputError
from fourcast.forecast.ensemble import forecast
from fourcast.forecast.plan import claim, require_writable, stands
from fourcast.forecast.prepare import prepared

OTHER = "2026-08-06T12"


@pytest.fixture
def config(tiny_run: Path, tiny_store: Path, tmp_path: Path) -> ForecastConfig:
    given = forecast_config(tiny_run, tiny_store, tmp_path / "RUN")
    ensemble = EnsembleConfig(size=10, exact=True)  # calls of 8: two for each initial time
    return replace(given, init_times=[INIT, OTHER], ensemble=ensemble)


def files(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def temperatures(run: Path) -> dict[str, bytes]:
    """The bits of t2m in every member's file; the file itself holds the time at which it was made."""
    found = {}
    for path in run.rglob("member_*.nc"):
        with netCDF4.Dataset(path) as file:
            found[str(path.relative_to(run))] = file["t2m"][:].tobytes()
    return found


def test_shares_in_any_order_make_the_files_of_one_run(config: ForecastConfig, tmp_path: Path) -> None:
    whole = forecast(replace(config, output=str(tmp_path / "whole")))
    assert len(files(whole)) == 2 * 10 + 1
    for part, made in (("3/3", 10), ("1/3", 18), ("2/3", 20)):  # both calls of one time; one; the other of the first
        assert len(temperatures(forecast(replace(config, part=part)))) == made
    assert files(Path(config.output)) == files(whole)
    assert temperatures(Path(config.output)) == temperatures(whole)


def test_a_share_is_made_again_alone(config: ForecastConfig, tmp_path: Path) -> None:
    run = forecast(replace(config, part="1/4"))
    before = temperatures(run)
    (run / INIT / "member_007.nc").unlink()
    forecast(replace(config, part="2/4"))
    assert set(temperatures(run)) == {f"{INIT}/member_00{number}.nc" for number in (0, 1, 2, 3, 4, 5, 6, 8, 9)}
    forecast(replace(config, part="1/4"))
    assert temperatures(run).items() >= before.items()


def test_products_need_all_members_so_that_shares_are_initial_times(config: ForecastConfig) -> None:
    given = replace(config, products=ProductsConfig(statistics=["mean"]), files=FilesConfig(layout=None))
    assert len(files(forecast(replace(given, part="1/4")))) == 1  # the manifest: two initial times for four shares
    assert files(forecast(replace(given, part="2/4"))) == {"forecast.json", f"{INIT}/mean.nc"}
    run = forecast(replace(given, part="4/4"))
    assert files(run) == {"forecast.json", f"{INIT}/mean.nc", f"{OTHER}/mean.nc"}


def test_in_the_other_mode_members_of_an_initial_time_stay_together(config: ForecastConfig) -> None:
    given = replace(config, ensemble=EnsembleConfig(size=3, exact=False))
    run = forecast(replace(given, part="2/2"))
    assert {name.split("/")[0] for name in files(run)} == {"forecast.json", OTHER}


def test_what_is_made_of_all_is_left_to_the_command_without_part(
    config: ForecastConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    given = replace(config, ensemble=EnsembleConfig(size=2, exact=True), files=FilesConfig(layout="ensemble"))
    forecast(replace(given, part="1/2"))
    assert "share 1/2 of" in (said := capsys.readouterr().err)
    assert "1 initial times are not finished by others" in said
    run = forecast(replace(given, part="2/2"))
    assert "the same command without part= makes ensemble" in capsys.readouterr().err
    assert len(files(run)) == 2 * 2 + 1
    forecast(given)
    assert files(run) == {"forecast.json", f"{INIT}/ensemble.nc", f"{OTHER}/ensemble.nc"}


def test_shares_of_another_run_are_refused(config: ForecastConfig) -> None:
    forecast(replace(config, part="1/4"))
    with pytest.raises(InputError, match="holds another forecast"):
        forecast(replace(config, part="2/4", lead_hours=6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "5/4"}, "part must be a share such as 2/8, from 1/8 to 8/8, found '5/4'"),
        ({"part": "1/2", "overwrite": True}, "overwrite=true with part=… would delete what other shares did"),
    ],
)
def test_what_makes_no_share(config: ForecastConfig, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **changes)


def test_shares_that_start_together_begin_one_run(config: ForecastConfig) -> None:
    """Each looks, finds nothing or the others' beginnings, and goes on: nobody is refused, nobody's files go."""
    with process_group("cpu") as process, prepared(config, process) as (run, _):
        plan = run.plan
    writing = threading.Lock()  # processes write under names of their own, threads under the same
    for _ in range(50):
        shutil.rmtree(plan.run)
        together = threading.Barrier(4)

        def begin(share: int, together: threading.Barrier = together) -> None:
            together.wait()
            require_writable(plan.run)
            if not stands(plan, overwrite=False):
                with writing:
                    claim(plan, overwrite=False)
            (plan.run / f"made_by_{share}").touch()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(begin, range(4)))
        assert files(plan.run) == {"forecast.json", *(f"made_by_{share}" for share in range(4))}


def test_of_several_checkpoints_shares_have_whole_calls(config: ForecastConfig) -> None:
    """Members take turns between two models, so that 16 consecutive ones are a full call of each."""
    given = replace(
        config, checkpoint=config.checkpoint * 2, init_times=[INIT], ensemble=EnsembleConfig(20, exact=True)
    )
    assert len(temperatures(forecast(replace(given, part="1/2")))) == 16
    assert len(temperatures(forecast(replace(given, part="2/2")))) == 20


def test_the_share_that_begins_a_run_wants_room_for_all(
    config: ForecastConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member is 3 lead times × 128 points × 2 channels × 4 bytes = 3 kB, hardly less than half of it compressed."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=20 * 1500))
    with pytest.raises(InputError, match="the forecast needs"):
        forecast(replace(config, ensemble=EnsembleConfig(size=80, exact=True), part="1/20"))
    forecast(replace(config, ensemble=EnsembleConfig(size=4, exact=True), part="1/2"))
