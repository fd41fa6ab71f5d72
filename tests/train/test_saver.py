"""Checkpoints that cannot be written leave nothing behind, harm none that is there, and are heard of everywhere."""

import errno
import threading
from pathlib import Path

import pytest
import torch
from tiny import CARD, train_config

from fourcast.checkpoint import build, training_checkpoints
from fourcast.distributed import Process
from fourcast.files import partial_path, read_json
from fourcast.train import saver as module
from fourcast.train.run import claim
from fourcast.train.saver import Saver

PROCESS = Process(0, 1, 0, 1, torch.device("cpu"))


def make_saver(run: Path, in_background: bool = True) -> Saver:
    return Saver(run, CARD, PROCESS, 100, in_background)


def begin(saver: Saver, step: int, **scores: float) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in build(CARD).state_dict().items()}
    saver.save(tensors, {"position": {"step": step}}, scores)


def save(run: Path, step: int, **scores: float) -> None:
    saver = make_saver(run)
    begin(saver, step, **scores)
    saver.finish()
    saver.close()


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def fill_disk(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Let there be no room for ``file`` of the tensors of coming checkpoints."""

    def make_full(path: Path) -> None:
        (path / "tensors").mkdir(parents=True)
        (path / "tensors" / file).symlink_to("/dev/full")

    monkeypatch.setattr(module, "_make_folder", make_full)


@pytest.mark.parametrize("in_background", [True, False])
@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata.tmp"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, in_background: bool
) -> None:
    save(tmp_path, 2, validation_loss=0.5)
    fill_disk(monkeypatch, file)
    saver = make_saver(tmp_path, in_background)
    with pytest.raises(OSError, match="No space left on device"):  # noqa: PT012 (in_background decides which raises)
        begin(saver, 4, validation_loss=0.1)
        saver.finish()
    saver.close()
    assert checkpoints(tmp_path) == ["step_00000002"]
    assert read_json(tmp_path / "best.json")["checkpoint"] == "step_00000002"


def test_an_error_is_raised_before_the_next_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = make_saver(tmp_path)
    with monkeypatch.context() as patch:
        fill_disk(patch, "__0_0.distcp")
        begin(saver, 2)
        with pytest.raises(OSError, match="No space left on device"):
            begin(saver, 4)
    begin(saver, 6)  # there is room again
    saver.finish()
    saver.close()
    assert checkpoints(tmp_path) == ["step_00000006"]


def test_a_folder_that_cannot_be_made_is_the_disks_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    saver = make_saver(tmp_path)
    with pytest.raises(OSError) as raised:
        begin(saver, 2)
    assert raised.value.errno in (errno.ENOTDIR, errno.EEXIST)
    saver.close()


class Peer:
    """A process whose peers always have something to say."""

    is_first = False

    def any(self, flag: bool) -> bool:
        """Whether any process raises its flag."""
        return True


def test_an_error_elsewhere_stops_this_process_too(tmp_path: Path) -> None:
    saver = make_saver(tmp_path)
    saver.process = Peer()  # type: ignore[assignment]
    with pytest.raises(OSError, match=r"could not be written to .*; the first process says why"):
        saver.finish()


def test_files_of_others_that_never_appear_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nodes share no file system."""
    monkeypatch.setattr(module.sharded, "missing_files", lambda folder: ["__1_0.distcp"])
    saver = make_saver(tmp_path)
    begin(saver, 2)
    with pytest.raises(OSError, match=r"__1_0.distcp of other processes never appeared in .*; put output= on"):
        saver.finish()
    saver.close()
    assert checkpoints(tmp_path) == []


def test_closing_waits_for_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that ends in an error ends its checkpoint first."""
    closing, write_card = threading.Event(), module.write_card

    def slowly(*args: object) -> None:
        assert closing.wait(60)
        write_card(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_card", slowly)
    saver = make_saver(tmp_path)
    begin(saver, 2)
    threading.Timer(0.1, closing.set).start()
    saver.close()
    assert [path.name for path in training_checkpoints(tmp_path)] == ["step_00000002"]


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    save(tmp_path, 1, validation_loss=float("nan"))
    assert not (tmp_path / "best.json").exists()
    save(tmp_path, 2, validation_loss=0.5)
    save(tmp_path, 3, validation_loss=float("nan"))
    assert read_json(tmp_path / "best.json")["checkpoint"] == "step_00000002"


def test_what_another_host_left_goes_once_it_is_overtaken(tmp_path: Path) -> None:
    """Whether a process of another host still lives cannot be known; that its checkpoint is needed no more, can."""
    folder = tmp_path / "checkpoints"
    for step in (2, 4, 9):
        (folder / f"step_{step:08d}.node.example-17.partial/tensors").mkdir(parents=True)
    save(tmp_path, 4)
    assert checkpoints(tmp_path) == ["step_00000004", "step_00000009.node.example-17.partial"]
    save(tmp_path, 10)
    assert checkpoints(tmp_path) == ["step_00000004", "step_00000010"]


def test_what_the_dead_of_this_host_left_goes_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save(run, 4)
    config = train_config(tmp_path / "store.zarr", run)
    (run / "checkpoints/step_00000004").rename(run / "kept")
    claim(run, config, CARD, PROCESS)
    (run / "kept").rename(run / "checkpoints/step_00000004")
    for path in (run / "checkpoints/step_00000008", run / "best.json", run / "log.jsonl"):
        partial_path(path).mkdir()  # this process's own number, as of one that died before
    assert claim(run, config, CARD, PROCESS) == run / "checkpoints/step_00000004"
    assert list(run.rglob("*.partial")) == []
