"""conf/launcher: every launcher with every verb, and what is missing said by name."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from fourcast.cli import VERBS, run_verb
from fourcast.errors import InputError

NEEDS_SUBMITIT = pytest.mark.skipif(find_spec("submitit") is None, reason="needs the extra slurm")
LAUNCHERS = sorted(path.stem for path in (tiny.ROOT / "conf/launcher").glob("*.yaml"))


def composed_hydra(verb: str, *overrides: str) -> DictConfig:
    with tiny.composer():
        return compose(verb, overrides=list(overrides), return_hydra_config=True).hydra


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_speaks_of_nothing_but_launching(launcher: str) -> None:
    """So it suits every verb."""
    held = OmegaConf.load(tiny.ROOT / f"conf/launcher/{launcher}.yaml")
    assert set(held) <= {"defaults", "hydra"}


def test_a_verb_runs_here_unless_told_otherwise() -> None:
    hydra = composed_hydra("verify")
    assert hydra.launcher._target_.endswith("BasicLauncher")
    assert hydra.mode is None


@NEEDS_SUBMITIT
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_composes_with_every_verb(launcher: str) -> None:
    with tiny.composer():
        for verb in VERBS:
            found = compose(verb, overrides=[f"launcher={launcher}"], return_hydra_config=True).hydra
            assert found.runtime.choices.launcher == launcher, verb
            assert found.launcher._target_.endswith("BasicLauncher" if launcher == "local" else "SlurmLauncher"), verb


@NEEDS_SUBMITIT
def test_as_many_tasks_as_gpus_unless_there_are_none() -> None:
    given = composed_hydra("train", "launcher=slurm", "hydra.launcher.gpus_per_node=8").launcher
    assert (given.gpus_per_node, given.tasks_per_node) == (8, 8)
    given = composed_hydra("ingest", "launcher=slurm_array").launcher
    assert (given.gpus_per_node, given.tasks_per_node) == (None, 1)


@NEEDS_SUBMITIT
def test_partition_and_account_are_those_of_sbatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    given = composed_hydra("train", "launcher=slurm").launcher
    assert (given.partition, given.account) == ("gpu", None)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Installed plugins of Hydra put what they offer into its store when it first looks for them."""
    Plugins.instance()
    offered = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(offered, "submitit_slurm.yaml", raising=False)
    monkeypatch.setattr(sys, "argv", ["fourcast"])
    with pytest.raises(SystemExit) as stopped:
        run_verb("train", ["-m", "launcher=slurm"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "pip install 'fourcast[slurm]'" in said
    assert len(said.splitlines()) == 1


@NEEDS_SUBMITIT
def test_without_slurm_a_launcher_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["fourcast"])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_verb("train", ["launcher=slurm"])
    assert stopped.value.code == 1
    assert "srun" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_a_mistake_in_a_job_reaches_who_submitted_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Hydra carries an exception from the job to the sweep, and loses an exit status."""
    monkeypatch.setattr(sys, "argv", ["fourcast"])
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    wrong = [f"path={tmp_path}/nothing"]
    with pytest.raises(InputError, match="nothing"):
        run_verb("inspect", wrong)
    assert "nothing" in capsys.readouterr().err
    monkeypatch.delenv("SUBMITIT_EXECUTOR")
    with pytest.raises(SystemExit) as stopped:
        run_verb("inspect", wrong)
    assert stopped.value.code == 2
