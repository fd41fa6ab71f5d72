"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import tiny
import torch


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu skip where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def samples(request: pytest.FixtureRequest) -> Path:
    """Folder of real sample files: FOURCAST_SAMPLES, or shared/data beside the project; skips where absent."""
    default = request.config.rootpath.parent / "shared" / "data"
    folder = Path(os.environ.get("FOURCAST_SAMPLES", default))
    if not folder.is_dir():
        pytest.skip(f"no real sample files at {folder}; set FOURCAST_SAMPLES")
    return folder


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> Path:
    """Folder of published weights and their outputs: FOURCAST_REFERENCE, or shared/reference beside the project."""
    default = request.config.rootpath.parent / "shared" / "reference"
    folder = Path(os.environ.get("FOURCAST_REFERENCE", default))
    if not folder.is_dir():
        pytest.skip(f"no reference weights at {folder}; set FOURCAST_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of the tiny planet; read only."""
    return tiny.write_store(tmp_path_factory.mktemp("tiny") / "store.zarr", tiny.TIMES, tiny.waves())


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_store: Path) -> Path:
    """A training of six steps on the tiny planet; read only."""
    from fourcast.train.loop import train

    return train(tiny.train_config(tiny_store, tmp_path_factory.mktemp("tiny_run") / "train"))
