"""The wheel holds what an installed fourcast needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_configuration(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("fourcast-*.whl"))).namelist())
    expected = {f"fourcast/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "fourcast").rglob("*.py")}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "fourcast/report/page").iterdir()}
    assert expected - names == set()
