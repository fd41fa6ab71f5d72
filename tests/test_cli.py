"""The command line: verbs, errors in one line, status codes, and what it does not import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fourcast import __version__
from fourcast.cli import VERBS
from fourcast.errors import InputError


def test_help_names_every_verb(fourcast) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        status, out, _ = fourcast(*arguments)
        assert status == 0
        assert all(f"\n  {verb} " in out for verb in VERBS)
    assert fourcast("--version") == (0, f"fourcast {__version__}\n", "")


def test_an_unknown_verb_names_the_known_ones(fourcast) -> None:
    status, out, err = fourcast("predict", "x=1")
    assert (status, out) == (2, "")
    assert err.startswith("fourcast: no verb 'predict'; expected one of simulate, fetch, ingest, inspect, plan, train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate planet.name=mars", "planet.name must be one of qg3, speedy, found 'mars'"),
        ("simulate planet.days=0.1", "planet.days must be a multiple of 0.25"),
        ("ingest", "needs source=…"),
        ("ingest source=absent.nc output=store.zarr", "absent.nc"),
        ("inspect", "needs path=…"),
        ("inspect path=absent", "there is nothing at absent"),
        ("inspect absent", "there is nothing at absent"),
        ("inspect it's/{absent},\\x", "there is nothing at it's/{absent},\\x"),
        ("report", "needs run=…"),
        ("train", "there is no store at data/store.zarr"),
        ("train output=run data.store=absent.zarr", "there is no store at absent.zarr"),
        ("train output=run data.store=STORE data.channels=[t2m,msl]", "has no channel msl; it holds t2m, z500"),
        ("train output=run data.store=STORE model.patch_size=4 rollout.steps=40", "holds no 41 analyses 6 h apart"),
        ("train output=run data.store=STORE model.patch_size=4 batch_size=-2", "batch_size must be above 0, found -2"),
        ("train output=run data.store=STORE data.train_end=2026", "data.train_end must be a UTC time to the hour"),
        ("forecast init_times=2026-08-10", "there is no checkpoint in runs/train"),
        ("forecast checkpoint=c store=s output=o", "name the initial times"),
        ("forecast checkpoint=c store=s output=o init_times=2026-08-10", "there is no checkpoint in c"),
        ("verify plots=false", "runs/forecast holds no forecast"),
        ("verify forecast=f store=s output=o plots=false", "f holds no forecast"),
        ("import-weights source=w.tar output=o", "there is no file w.tar"),
        ("export-weights checkpoint=absent output=o", "there is no checkpoint in absent"),
        ("train output=${nothing} data.store=s", "nothing"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(
    fourcast, tiny_store: Path, tmp_path: Path, arguments: str, message: str
) -> None:
    status, _, err = fourcast(*arguments.replace("STORE", str(tiny_store)).split())
    assert status == 2
    assert err.startswith(f"fourcast {arguments.split()[0]}: ")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("events=u10m > 10", """events=u10m > 10 cannot be read; write key=value, .* 'key=\\["a > b",c\\]'"""),
        ("regions=[global", r"regions=\[global cannot be read"),
        ("lead_hours=24", r"override lead_hours=24 \(must be a list, as in key=\[1,2\]\)"),
        ("+boxes.mine=[60,west,30,40]", r"boxes\.mine must be north, west, south, east, found .*'west'.*; write"),
        ("+boxes={mine: [60, 350, 30]}", r"boxes\.mine must be .*found \[60, 350, 30\]"),
        ("+boxes={mine: [60, 350, 30, 10]}", "runs/forecast holds no forecast"),
        ('events="u10m > 10"', "runs/forecast holds no forecast"),
        ("lead_hours=[]", "lead_hours must name at least one"),
    ],
)
def test_values_that_hydra_finds_hard_are_read_or_refused_in_words(fourcast, override: str, message: str) -> None:
    status, _, err = fourcast("verify", override)
    assert status == 2
    assert re.search(message, err), err
    assert err.count("\n") == 1


@pytest.mark.parametrize("typo", ["stepz=3", "model.detph=3", "steps=many", "model=huge", "experiment=unheard"])
def test_what_hydra_cannot_compose_fails_with_its_name(fourcast, typo: str) -> None:
    status, _, err = fourcast("train", "output=a", "data.store=b", typo)
    assert status == 2
    assert err.startswith("fourcast train: ")
    assert err.count("\n") == 1
    assert typo.split("=")[typo.startswith(("model=", "experiment="))].split(".")[-1] in err


def test_defects_keep_their_traceback(fourcast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(path: str, checksums: bool) -> str:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("fourcast.inspect.describe", broken)
    with pytest.raises(ZeroDivisionError, match="ours"):
        fourcast("inspect", f"path={tmp_path}")


def test_a_full_disk_is_one_line_and_status_1(fourcast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(path: str, checksums: bool) -> str:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("fourcast.inspect.describe", full)
    status, _, err = fourcast("inspect", f"path={tmp_path}")
    assert status == 1
    assert err == "fourcast inspect: [Errno 28] No space left on device: 'somewhere'\n"


def test_interruption_is_not_an_error_of_anybody(fourcast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(path: str, checksums: bool) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("fourcast.inspect.describe", interrupted)
    status, _, err = fourcast("inspect", f"path={tmp_path}")
    assert status == 130
    assert "fourcast inspect: stopped; nothing half-written carries a finished name" in err


def test_a_traceback_can_be_asked_for(fourcast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOURCAST_TRACEBACK", "1")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(InputError, match="there is nothing at absent"):
        fourcast("inspect", "path=absent")


def test_the_composed_configuration_and_its_keys_are_shown(fourcast, tmp_path: Path) -> None:
    status, out, _ = fourcast("train", "--cfg", "job", "output=run", "data.store=s", "model=small", "steps=7")
    assert status == 0
    assert "steps: 7" in out
    assert "embed_dim: 192" in out
    assert "learning_rate" in fourcast("train", "--help")[1]
    assert list(tmp_path.iterdir()) == []


def test_presets_load_by_name_and_give_way_to_overrides(fourcast) -> None:
    _, out, _ = fourcast("train", "--cfg", "job", "experiment=quickstart", "steps=9")
    assert "steps: 9" in out
    assert "store: data/quickstart/store.zarr" in out
    assert "target: residual" in out


def test_multirun_runs_every_value_in_turn(fourcast, tiny_run: Path, tiny_store: Path, tmp_path: Path) -> None:
    status, out, _ = fourcast("inspect", "-m", f"path={tiny_run},{tiny_store}")
    assert status == 0
    assert out.index("checkpoint ") < out.index("training store")
    assert [path.name for path in tmp_path.iterdir()] == ["multirun.yaml"]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_help_is_quick_because_it_imports_next_to_nothing() -> None:
    code = """import sys; sys.argv = ["fourcast", "--help"]; from fourcast.cli import main; main()
print("heavy:", {"torch", "hydra", "numpy", "zarr", "xarray"} & set(sys.modules))"""
    assert "heavy: set()" in python(code)


def test_verify_and_ingest_start_without_torch() -> None:
    code = """import sys, importlib; from fourcast.cli import VERBS
for verb in ("verify", "ingest", "simulate", "inspect"): importlib.import_module(VERBS[verb][0])
print("torch" in sys.modules)"""
    assert python(code).strip() == "False"


def test_python_m_fourcast() -> None:
    done = subprocess.run([sys.executable, "-m", "fourcast", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fourcast {__version__}\n"
