"""The recipes of docs/extending.md, each applied to a copy of the project, and its tests run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import OVERRIDES, ROOT

SECTIONS = (ROOT / "docs/extending.md").read_text(encoding="utf-8").split("\n## ")[1:]
RECIPES = {section.splitlines()[0]: section for section in SECTIONS}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW_FILE = re.compile(r"# new file: (\S+)\n")
CHANGED = re.compile(r"^\+\+\+ b/(\S+)$", re.MULTILINE)

pytestmark = pytest.mark.slow


def followed(recipe: str, copy: Path) -> list[str]:
    """Do what ``recipe`` says in a fresh copy of the project; the files that it makes or changes."""
    for name in ("fourcast", "conf", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    touched = []
    for language, text in BLOCK.findall(recipe):
        new = NEW_FILE.match(text)
        if language == "diff":
            apply(text, copy)
            touched += CHANGED.findall(text)
        elif new:
            (copy / new[1]).write_text(text[new.end() :], encoding="utf-8")
            touched.append(new[1])
    return [name for name in touched if name.endswith(".py")]


def apply(diff: str, copy: Path) -> None:
    """Apply a unified diff whose line numbers say nothing."""
    command = ["git", "apply", "--recount", "--unidiff-zero", "-"]
    found = subprocess.run(command, input=diff, cwd=copy, text=True, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr


def run(copy: Path, *command: str) -> None:
    """Run Python in the copy, whose fourcast comes before the installed one."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, text=True, capture_output=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title: str, tmp_path: Path) -> None:
    touched = followed(RECIPES[title], tmp_path)
    tests = [name for name in touched if name.startswith("tests/")]
    assert tests
    run(tmp_path, "-m", "pytest", "-m", "not gpu", "-p", "no:cacheprovider", *tests)
    run(tmp_path, "-m", "ruff", "check", *touched)


def test_the_new_mixer_trains(tmp_path: Path, tiny_store: Path) -> None:
    followed(RECIPES["A mixer"], tmp_path)
    sizes = [word for word in OVERRIDES if "num_blocks" not in word]
    words = ["mixer=zonal_mean", "steps=2", f"data.store={tiny_store}", f"output={tmp_path / 'run'}", *sizes]
    run(tmp_path, "-m", "fourcast", "train", *words)
    assert (tmp_path / "run/checkpoints/step_00000002").is_dir()
