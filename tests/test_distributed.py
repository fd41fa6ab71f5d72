"""Processes and devices, alone; with peers in parallel/."""

import pytest
import torch

from fourcast.distributed import Process, choose_device, parallelize, process_group
from fourcast.errors import InputError


def test_alone_there_is_nothing_to_join(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu") as process:
        assert process == Process(0, 1, torch.device("cpu"))
        assert process.is_first
        process.barrier()
        assert process.sum(torch.tensor(3.0)) == 3.0
        model = torch.nn.Linear(1, 1)
        assert parallelize(model, process) is model
        process.say("hello")
    assert capsys.readouterr().err == "hello\n"
    assert not torch.distributed.is_initialized()


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    Process(1, 2, torch.device("cpu")).say("hello")
    assert capsys.readouterr().err == ""


def test_devices_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_device("auto", 3) == torch.device("cuda:3")
    assert choose_device("cuda", 2) == torch.device("cuda:2")
    assert choose_device("cuda:1", 0) == torch.device("cuda:1")
    assert choose_device("cpu", 3) == torch.device("cpu")
    with pytest.raises(InputError, match="process 4 of this node has no GPU: torch sees 4; start as many"):
        choose_device("auto", 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 0) == torch.device("cpu")
    with pytest.raises(InputError, match=r"device=cuda asked for, but torch .* sees no GPU; use device=cpu or auto"):
        choose_device("cuda", 0)
    with pytest.raises(InputError, match="device must be auto, cpu or cuda, found 'gpu'"):
        choose_device("gpu", 0)


def test_separate_processes_of_one_srun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with pytest.raises(InputError, match="srun started 8 separate processes; start one a node"), process_group("cpu"):
        pass
    monkeypatch.setenv("RANK", "0")  # torchrun is there
    with process_group("cpu") as process:
        assert process.is_first
