"""Processes and devices, alone; with peers in parallel/."""

import pytest
import torch

from fourcast.distributed import (
    Placement,
    Process,
    choose_device,
    first_node,
    placement,
    process_group,
    require_own_gpus,
    tasks_per_node,
)
from fourcast.errors import InputError

SRUN = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7", "SLURM_LOCALID": "2", "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "54321", "SLURM_STEP_ID": "3", "SLURM_STEP_TASKS_PER_NODE": "3,4",
    "SLURM_STEP_NODELIST": "gpu[08,11]",
}  # fmt: skip
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}  # fmt: skip
TORCHRUN = {
    "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "1",
}  # fmt: skip
ALONE = Placement(0, 1, 0, 1, "")


def test_alone_there_is_nothing_to_join(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu") as process:
        assert process == Process(0, 1, 0, 1, torch.device("cpu"))
        assert process.is_first
        process.barrier()
        assert process.sum(torch.tensor(3.0)) == 3.0
        assert [process.any(flag) for flag in (True, False)] == [True, False]
        assert process.broadcast({"path": "a"}) == {"path": "a"}
        process.say("hello")
    assert capsys.readouterr().err == "hello\n"
    assert not torch.distributed.is_initialized()


def test_torchrun_places_its_processes_under_whatever_started_it() -> None:
    expected = Placement(9, 16, 1, 8, "env://")
    assert placement(TORCHRUN) == expected
    assert placement(TORCHRUN | SRUN | OPEN_MPI) == expected
    assert placement({"RANK": "0"} | SRUN) == Placement(0, 1, 0, 1, "env://")
    with pytest.raises(InputError, match="the environment lacks MASTER_PORT"):
        placement({name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"})


def test_srun_places_its_tasks() -> None:
    # Tasks 0 to 2 on the first node, 3 to 6 on the second; 10000 + (54321 + 4096 · 3) mod 20000 = 16609.
    assert placement(SRUN) == Placement(5, 7, 2, 4, "tcp://gpu08:16609")
    first = SRUN | {"SLURM_PROCID": "2", "SLURM_NODEID": "0"}
    assert placement(first) == Placement(2, 7, 2, 3, "tcp://gpu08:16609")
    given = SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29400"}
    assert placement(given).meeting == "tcp://10.0.0.1:29400"
    one_node = SRUN | {"SLURM_STEP_TASKS_PER_NODE": "7", "SLURM_NODEID": "0", "SLURM_STEP_ID": "0"}
    assert placement(one_node) == Placement(5, 7, 2, 7, "tcp://127.0.0.1:24321")
    with pytest.raises(InputError, match="the environment lacks SLURM_STEP_NODELIST"):
        placement({name: value for name, value in SRUN.items() if name != "SLURM_STEP_NODELIST"})


def test_a_process_of_an_allocation_that_srun_did_not_multiply_is_alone() -> None:
    script = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}
    assert placement(script) == ALONE
    assert placement(script | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "4294967290"}) == ALONE
    assert placement({}) == ALONE


def test_mpirun_places_its_processes() -> None:
    one_node = OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    assert placement(one_node) == Placement(3, 4, 1, 4, "tcp://127.0.0.1:29500")
    daemon = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}  # srun started mpirun's daemon on each of two nodes
    assert placement(OPEN_MPI | daemon | {"MASTER_ADDR": "n1"}) == Placement(3, 4, 1, 2, "tcp://n1:29500")
    with pytest.raises(InputError, match="the environment lacks MASTER_ADDR: set it, or use torchrun"):
        placement(OPEN_MPI)
    hydra = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", "MASTER_PORT": "5"}
    assert placement(hydra) == Placement(1, 2, 1, 2, "tcp://127.0.0.1:5")


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"), ("gpu7,gpu9", "gpu7"), ("node[01-03,7]", "node01"), ("node[7,01-03],a", "node7"),
        ("a-1,node[1-2]", "a-1"), ("rack[1-2]node[3,5-8]", "rack1node3"), ("nid[000012-000015]", "nid000012"),
        ("n[1-2].site.org,m1", "n1.site.org"),
    ],
)  # fmt: skip
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_tasks_per_node_are_spelt_out() -> None:
    assert tasks_per_node("8") == [8]
    assert tasks_per_node("4(x2),3") == [4, 4, 3]
    assert tasks_per_node("1,12(x3),2(x1)") == [1, 12, 12, 12, 2]


def test_only_the_first_process_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    Process(1, 2, 1, 2, torch.device("cpu")).say("hello")
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
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # the others are hidden from this process
    assert choose_device("auto", 3) == torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 0) == torch.device("cpu")
    with pytest.raises(InputError, match=r"device=cuda asked for, but torch .* sees no GPU; use device=cpu or auto"):
        choose_device("cuda", 0)
    with pytest.raises(InputError, match="device must be auto, cpu or cuda, found 'gpu'"):
        choose_device("gpu", 0)


def test_a_gpu_belongs_to_one_process() -> None:
    require_own_gpus(["1 of a", "2 of a", "1 of b"])
    with pytest.raises(InputError, match="processes 1 and 2 share the GPU 2 of a; start as many processes as there"):
        require_own_gpus(["1 of a", "2 of a", "2 of a"])
