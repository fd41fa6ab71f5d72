"""Parts put together: how many files are open, and how much is remembered."""

from pathlib import Path

import netCDF4
import numpy as np
import pytest
from made_parts import made_parts, made_plan, made_values

from fourcast.verify.results import merge
from fourcast.verify.results.merge import Parts, added, joined


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    plan = made_plan(channels=("t850", "t2m"), leads=(0, 6), inits=8)
    return made_parts(tmp_path_factory.mktemp("many"), plan, cuts=tuple(range(1, 8)), values=made_values(plan))


def test_more_parts_than_files_may_be_open(many: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = joined(many, "squared_error", channel=1), added(many, "spectrum_sum", channel=0)
    opened, most = [], []

    class Counted:
        """A file that notes how many are open."""

        def __init__(self, path: Path) -> None:
            self.file = real(path)
            opened.append(path)
            most.append(len(opened))

        def __getitem__(self, name: str) -> netCDF4.Variable:
            return self.file[name]

        def __enter__(self) -> "Counted":
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            opened.pop()
            self.file.close()

    real = netCDF4.Dataset
    monkeypatch.setattr(merge, "MOST_OPEN", 4)
    monkeypatch.setattr(netCDF4, "Dataset", Counted)
    with Parts(many) as parts:
        found = joined(parts, "squared_error", channel=1), added(parts, "spectrum_sum", channel=0)
    assert max(most) == 5
    assert opened == []
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_what_is_small_in_all_parts_together_is_remembered(
    many: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Parts(many) as parts:
        small = joined(parts, "squared_error", channel=1)
        assert parts.recent.held_bytes > 0
    monkeypatch.setattr(merge, "MOST_BYTES", 8 * small.size)  # of one channel; there are two
    with Parts(many) as parts:
        np.testing.assert_array_equal(joined(parts, "squared_error", channel=1), small)
        assert parts.recent.held_bytes == 0
