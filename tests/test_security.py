"""SECURITY.md: what a file asks to be run does not run."""

import json
import pickle
from pathlib import Path

import pytest

from fourcast.data_config import InspectConfig
from fourcast.errors import InputError
from fourcast.inspect import inspect

PICKLE = {"id": "pickle", "protocol": 5}
CODECS = [("<i8", None, [PICKLE]), ("<f4", PICKLE, None), ("|O", None, [{"id": "vlen-utf8"}, PICKLE])]


class Touch:
    """What makes a file at ``path`` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("dtype", "compressor", "filters"), CODECS)
def test_a_pickle_in_a_zarr_is_not_loaded(tmp_path: Path, dtype: str, compressor: object, filters: object) -> None:
    """Its coordinates are what is read of a zarr first."""
    (tmp_path / "source.zarr/time").mkdir(parents=True)
    array = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": dtype, "order": "C", "fill_value": None}
    files = {
        ".zgroup": {"zarr_format": 2},
        "time/.zarray": {**array, "compressor": compressor, "filters": filters},
        "time/.zattrs": {"_ARRAY_DIMENSIONS": ["time"]},
    }
    for name, content in files.items():
        (tmp_path / "source.zarr" / name).write_text(json.dumps(content))
    harm = tmp_path / "harm"
    chunk = pickle.dumps(Touch(harm))
    (tmp_path / "source.zarr/time/0").write_bytes(chunk)
    with pytest.raises((InputError, RuntimeError)):
        inspect(InspectConfig(path=str(tmp_path / "source.zarr")))
    assert not harm.exists()
    pickle.loads(chunk)
    assert harm.exists()
