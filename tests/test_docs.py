"""The documents: every command is one that fourcast takes, and runs; every path and link leads somewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr
from documents import DOCUMENTS, Block, Command, anchors, blocks, broken_links, commands, inline, named_paths
from hydra import compose
from omegaconf import OmegaConf
from tiny import ROOT, composer

from fourcast.cli import VERBS

NEEDS = {"a cluster", "a GPU", "the network", "a container engine", "your data", "hours", "minutes"}
"""What a command may need that is not at hand where tests run."""
FILES = ROOT / "docs/files.md"

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def runs(document: Path) -> list[Block]:
    """The blocks of a document that run here."""
    return [block for block in blocks(document) if not block.needs and not block.run_by]


RUNNING = [document for document in DOCUMENTS if runs(document)]


@every_document
def test_marks(document: Path) -> None:
    for block in blocks(document):
        assert not block.needs or set(block.needs.split(", ")) <= NEEDS
        assert not block.run_by or (ROOT / block.run_by).exists(), block.run_by


@pytest.fixture(scope="module")
def composing() -> Iterator[None]:
    with composer():
        yield


@every_document
@pytest.mark.usefixtures("composing")
def test_commands_compose(document: Path) -> None:
    for command in {command for block in blocks(document) for command in commands(block.text)}:
        composed: Any = compose(command.verb, overrides=list(command.overrides))
        assert OmegaConf.missing_keys(composed) == set(), command
        OmegaConf.to_object(composed)
    for command in {command for text in inline(document) for command in quoted(text)}:
        compose(command.verb, overrides=list(command.overrides))


def quoted(text: str) -> list[Command]:
    """What a text in backticks says to fourcast, where it is a command with overrides; it need not be complete."""
    found = commands(text) if text.startswith("fourcast ") and "…" not in text else []
    return [command for command in found if command.overrides]


@every_document
def test_paths_exist(document: Path) -> None:
    assert [path for path in sorted(named_paths(document)) if not (ROOT / path).exists()] == []


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_every_document_is_listed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in ROOT.glob("docs/*.md") if f"](docs/{path.name})" not in readme] == []


def test_every_verb_is_explained() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"| `{verb}` |" not in readme] == []
    assert set(VERBS) <= anchors(ROOT / "docs/configuration.md")


def test_what_a_command_is() -> None:
    text = "srun --mpi=pmi2 fourcast train -m a=$X,2 \\\n  'b=[1, 2]'  # c=3\nfourcast report RUN && ls > x=y\n"
    first, second = commands(text)
    assert (first.verb, first.overrides) == ("train", ("a=1", "b=[1, 2]"))
    assert (second.verb, second.overrides) == ("report", ("run=RUN",))
    (batch,) = commands("sbatch --nodes=2 scripts/slurm/train.sbatch experiment=fcn_paper\n")
    assert (batch.verb, batch.overrides) == ("train", ("+experiment/train=fcn_paper",))
    (service,) = commands("docker compose run --rm torchrun train steps=3\n")
    assert (service.verb, service.overrides) == ("train", ("steps=3",))
    (service,) = commands("docker compose run --rm verify experiment=quickstart\n")
    assert (service.verb, service.overrides) == ("verify", ("+experiment/verify=quickstart",))


def test_what_is_found_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# One, `two`: three\n[here](#one-two-three) [gone](other.md) [page](page.md#nowhere) [web](https://x.org)\n"
        "`scripts/none.sh` is none, /else/scripts/x.sh too\n```bash\n# needs: a GPU\nbash scripts/gone.sh\n```\n"
        "```bash\ntrue\n```\n"
    )
    assert broken_links(document) == ["other.md", "page.md#nowhere"]
    assert named_paths(document) == {"scripts/none.sh", "scripts/gone.sh"}
    assert [block.text for block in runs(document)] == ["true\n"]


def carried_out(document: Path, folder: Path) -> None:
    """Run the blocks of a document in ``folder``, one after the other."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for block in runs(document):
        found = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, env=environment, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, f"{block.text}\n{found.stdout}\n{found.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("document", RUNNING, ids=lambda path: path.name)
def test_commands_run(document: Path, tmp_path: Path) -> None:
    carried_out(document, tmp_path)
    if document.name == "quickstart.md":
        assert unnamed(tmp_path) == []


def unnamed(folder: Path) -> list[str]:
    """What the quickstart made that docs/files.md does not name: arrays and attributes of the store, files of runs."""
    text = FILES.read_text(encoding="utf-8")
    store = zarr.open_group(folder / "data/store.zarr", mode="r")
    names = {*store.array_keys(), *store.attrs}
    for file in (folder / "runs").rglob("*"):
        generic = file.suffix in (".png", ".distcp") or file.parent.name in ("tensorboard",)
        if file.is_file() and not generic and not file.name.startswith("member_"):
            names.add(file.name)
    return sorted(name for name in names if name not in text)
