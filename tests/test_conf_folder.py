"""FOURCAST_CONF: a folder of one's own that adds to conf/ and replaces files of it."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that FOURCAST_CONF names by a relative path with a space."""
    made = tmp_path / "my conf"
    made.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURCAST_CONF", "my conf")
    return made


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_empty_folder_changes_nothing(folder: Path, fourcast, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "--cfg", "job", "experiment=quickstart")
    with_folder = fourcast(*arguments)
    monkeypatch.delenv("FOURCAST_CONF")
    assert with_folder == fourcast(*arguments)
    monkeypatch.setenv("FOURCAST_CONF", "")
    assert with_folder == fourcast(*arguments)


def test_a_preset_is_added_beside_the_built_in_ones(folder: Path, fourcast) -> None:
    write(folder / "experiment/train/ours.yaml", "# @package _global_\nsteps: 12345\n")
    status, out, _ = fourcast("train", "--cfg", "job", "experiment=ours", "model=small")
    assert status == 0
    assert "\nsteps: 12345\n" in out
    assert "  embed_dim: 192\n" in out
    assert "\nsteps: 12345\n" not in fourcast("train", "--cfg", "job", "experiment=quickstart")[1]


def test_a_file_replaces_the_built_in_one_of_its_name(folder: Path, fourcast) -> None:
    write(folder / "model/small.yaml", "embed_dim: 77\n")
    assert "  embed_dim: 77\n" in fourcast("train", "--cfg", "job", "model=small")[1]
    assert "  embed_dim: 768\n" in fourcast("train", "--cfg", "job")[1]


def test_the_file_of_a_verb_may_be_replaced(folder: Path, fourcast) -> None:
    write(folder / "simulate.yaml", "defaults: [simulate_schema, base, _self_]\noutput: ours.nc\n")
    assert "output: ours.nc\n" in fourcast("simulate", "--cfg", "job")[1]


def test_a_mistake_in_the_folder_is_named(folder: Path, fourcast) -> None:
    write(folder / "experiment/train/ours.yaml", "# @package _global_\nstepz: 3\n")
    status, _, err = fourcast("train", "--cfg", "job", "experiment=ours")
    assert status == 2
    assert "stepz" in err
    assert err.count("\n") == 1


def test_several_runs_in_turn_find_it(folder: Path, fourcast, tiny_store: Path, tiny_run: Path) -> None:
    for name, path in (("one", tiny_run), ("two", tiny_store)):
        write(folder / f"experiment/inspect/{name}.yaml", f"# @package _global_\npath: {path}\n")
    status, out, _ = fourcast("inspect", "-m", "experiment=one,two")
    assert status == 0
    assert out.index("checkpoint ") < out.index("training store")


def test_hydra_s_own_folder_still_adds_to_it(folder: Path, fourcast, tmp_path: Path) -> None:
    write(folder / "model/ours.yaml", "embed_dim: 77\n")
    write(tmp_path / "site/model/theirs.yaml", "embed_dim: 66\n")
    for name, width in (("ours", 77), ("theirs", 66)):
        out = fourcast("train", "--config-dir", "site", "--cfg", "job", f"model={name}")[1]
        assert f"  embed_dim: {width}\n" in out


@pytest.mark.parametrize("arguments", [("--cfg", "job"), ("-m", "steps=1,2"), ("--help",), ()])
def test_a_folder_that_is_not_there_is_an_error_in_one_line(
    fourcast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOURCAST_CONF", "absent")
    status, out, err = fourcast("train", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("fourcast train: FOURCAST_CONF must name a folder of YAML files laid out as conf/")
    assert "found 'absent'" in err
    assert err.endswith("unset FOURCAST_CONF\n")
    assert list(tmp_path.iterdir()) == []
