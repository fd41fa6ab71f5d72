"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Threads that wait do not spin: several processes share these cores. OpenMP reads it when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import tiny
import torch

from fourcast.cli import main


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu skip where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def shared_folder(root: Path, name: str, variable: str) -> Path:
    """The folder that ``variable`` names, or shared/<name> beside the project; skips where there is none."""
    folder = Path(os.environ.get(variable, root.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; set {variable}")
    return folder


@pytest.fixture
def samples(request: pytest.FixtureRequest) -> Path:
    """Folder of real reanalysis and analysis files."""
    return shared_folder(request.config.rootpath, "data", "FOURCAST_SAMPLES")


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> Path:
    """Folder of published-format weights with outputs for given inputs."""
    return shared_folder(request.config.rootpath, "reference", "FOURCAST_REFERENCE")


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the tiny planet; read only."""
    return tiny.write_store(tmp_path_factory.mktemp("tiny") / "store.zarr", tiny.TIMES, tiny.waves())


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_store: Path) -> Path:
    """A training of six steps on the tiny planet; read only."""
    from fourcast.train.loop import train

    return train(tiny.train_config(tiny_store, tmp_path_factory.mktemp("tiny_run") / "train"))


@pytest.fixture
def fourcast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run ``fourcast <arguments>`` in this process and an empty folder; gives (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fourcast", *arguments])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run
