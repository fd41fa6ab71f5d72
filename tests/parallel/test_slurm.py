"""The batch scripts on a Slurm cluster of one node: ranks, preemption, and what goes back into the queue."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cluster
import pytest
import tiny
from cluster import SCRIPTS, Cluster, eventually, executable
from omegaconf import OmegaConf

from fourcast.checkpoint import training_checkpoints
from fourcast.train.signals import EXIT_INTERRUPTED

pytestmark = cluster.NEEDED
STEPS = 400
STUB = (
    'echo "$SLURM_RESTART_COUNT/$*" >>calls-$SLURM_JOB_ID',
    '[ -z "$SLURM_RESTART_COUNT" ] || exit 0',  # it was stopped before: now it comes to its end
)
"""The beginning of a program that stands for fourcast."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster.one_node(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def train(slurm: Cluster, store: Path, run: Path) -> str:
    given = [*tiny.OVERRIDES, f"data.store={store}", f"steps={STEPS}", "checkpoint_every=20", f"validate_every={STEPS}"]
    return slurm.submit(SCRIPTS / "train.sbatch", ["--ntasks-per-node=2"], *given, "log_every=1", f"output={run}")


def losses(run: Path) -> dict[int, float]:
    """Of every step that was logged, the last time that it was."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}


def test_a_preempted_job_of_two_tasks_ends_like_one_that_was_left_alone(
    slurm: Cluster, tiny_store: Path, tmp_path: Path
) -> None:
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    here = slurm.within(tmp_path)
    job = train(here, tiny_store, stopped)
    eventually(lambda: bool(training_checkpoints(stopped)), "the first checkpoint")
    here.call("scancel", "--signal=USR1", job)
    eventually(lambda: here.restarts(job) == [1], "the requeue")
    assert "as asked; the same command goes on from there" in here.output()
    assert training_checkpoints(stopped)[-1].name < f"step_{STEPS:08d}"
    other = train(here, tiny_store, alone)  # it trains while the first one waits its turn
    here.finish(other)
    here.hasten(job)
    here.finish(job)
    assert here.output().count("on 2 × cpu") == 3
    assert len(losses(alone)) == STEPS
    assert losses(stopped) == losses(alone)


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("train.sbatch", f"exit {EXIT_INTERRUPTED}"),
        ("train.sbatch", "kill -USR1 $$"),  # as one that was still starting
        ("ingest.sbatch", "kill -TERM $$"),  # as a program dies that heeds no signal
        ("verify.sbatch", "kill -TERM $$"),
        ("forecast.sbatch", "exit 143"),  # as one that tidies up first
    ],
)
def test_of_an_array_what_was_stopped_queues_again_and_nothing_else(
    slurm: Cluster, tmp_path: Path, script: str, end: str
) -> None:
    """Slurm gives the last job of an array the number of the whole, which must not be queued again with it."""
    stub = executable(tmp_path / "stub", *STUB, f'[ "$SLURM_ARRAY_TASK_ID" != 2 ] || {end}')
    here = slurm.within(tmp_path, FOURCAST=str(stub))
    job = here.submit(SCRIPTS / script, ["--array=1-2", "--ntasks-per-node=1"], "output=a")
    eventually(lambda: here.restarts(f"{job}_2") == [1], "the requeue")
    here.hasten(f"{job}_2")
    here.finish(job)
    assert here.restarts(job) == [0, 1]
    verb = script.removesuffix(".sbatch")
    calls = [path.read_text().splitlines() for path in sorted(tmp_path.glob("calls-*"))]
    assert sorted(map(len, calls)) == [1, 2]
    words = [f"{verb} output=a" if verb == "train" else f"{verb} part={k}/2 output=a" for k in (1, 2)]
    once, twice = sorted(calls, key=len)
    assert once == [f"/{words[0]}"]
    assert twice == [f"/{words[1]}", f"1/{words[1]}"]


def test_a_mistake_and_a_cancelled_job_do_not_queue_again(slurm: Cluster, tmp_path: Path) -> None:
    wrong = executable(tmp_path / "wrong", "exit 2")
    here = slurm.within(tmp_path, FOURCAST=str(wrong))
    mistaken = here.submit(SCRIPTS / "ingest.sbatch", ["--array=1"])
    eventually(lambda: here.states(mistaken) == ["FAILED"], "the end")
    assert here.restarts(mistaken) == [0]

    heeding = f"trap 'exit {EXIT_INTERRUPTED}' TERM"
    stub = executable(tmp_path / "stub", *STUB, heeding, "touch began", "sleep 30 & wait")
    other = slurm.within(tmp_path, FOURCAST=str(stub))
    cancelled = other.submit(SCRIPTS / "train.sbatch", ["--ntasks-per-node=1"])
    eventually((tmp_path / "began").exists, "the start")
    other.call("scancel", cancelled)
    eventually(lambda: other.states(cancelled) == ["CANCELLED"], "the end")
    assert other.restarts(cancelled) == [0]


@pytest.mark.parametrize("of_launcher", [False, True])
def test_the_first_task_to_stop_ends_no_other(slurm: Cluster, tmp_path: Path, of_launcher: bool) -> None:
    """Though the site has it so (KillOnBadExit=1), which would leave a status that queues nothing again."""
    ending = ('[ "$SLURM_PROCID" = 0 ] || sleep 2', 'echo "$SLURM_PROCID" >>stopped', f"exit {EXIT_INTERRUPTED}")
    here = slurm.within(tmp_path, FOURCAST=str(executable(tmp_path / "stub", *ending)), SLURM_KILL_BAD_EXIT="1")
    job = here.submit(as_submitit_would(tmp_path) if of_launcher else SCRIPTS / "train.sbatch", ["--ntasks-per-node=2"])
    eventually(lambda: here.restarts(job) == [1], "the requeue")
    here.call("scancel", job)
    assert (tmp_path / "stopped").read_text() == "0\n1\n"


@pytest.mark.parametrize("of_launcher", [False, True])
def test_a_task_that_crashed_ends_the_others_and_queues_nothing(
    slurm: Cluster, tmp_path: Path, of_launcher: bool
) -> None:
    crashing = executable(tmp_path / "stub", '[ "$SLURM_PROCID" != 0 ] || exit 1', "exec sleep 30")
    here = slurm.within(tmp_path, FOURCAST=str(crashing), SRUN_OPTIONS="--wait=2")
    script = as_submitit_would(tmp_path, "--wait=2") if of_launcher else SCRIPTS / "train.sbatch"
    job = here.submit(script, ["--ntasks-per-node=2"])
    eventually(lambda: here.states(job) == ["FAILED"], "the end", 25)
    assert here.restarts(job) == [0]


def test_an_array_with_gaps_is_refused_unless_told_of_how_many(slurm: Cluster, tmp_path: Path) -> None:
    stub = executable(tmp_path / "stub", *STUB)
    here = slurm.within(tmp_path, FOURCAST=str(stub))
    job = here.submit(SCRIPTS / "ingest.sbatch", ["--array=3"])
    eventually(lambda: here.states(job) == ["FAILED"], "the end")
    assert "PARTS=N" in here.output()
    job = here.within(tmp_path, PARTS="8").submit(SCRIPTS / "ingest.sbatch", ["--array=3"])
    here.finish(job)
    assert [path.read_text() for path in tmp_path.glob("calls-*")] == ["/ingest part=3/8\n"]


def as_submitit_would(folder: Path, *options: str) -> Path:
    """A batch script that begins with what conf/launcher/slurm.yaml has submitit put before srun and its options."""
    setup = OmegaConf.load(tiny.ROOT / "conf/launcher/slurm.yaml").hydra.launcher.setup
    return executable(folder / "job", *setup, f"srun {' '.join(options)} $FOURCAST train")


def test_jobs_of_the_launcher_queue_again_by_the_same_rules(slurm: Cluster, tmp_path: Path) -> None:
    (tmp_path / "cancelled").mkdir()
    script = as_submitit_would(tmp_path)
    stub = executable(tmp_path / "stub", *STUB, f'[ "$SLURM_ARRAY_TASK_ID" != 2 ] || exit {EXIT_INTERRUPTED}')
    here = slurm.within(tmp_path, FOURCAST=str(stub))
    job = here.submit(script, ["--array=1-2"])
    eventually(lambda: here.restarts(f"{job}_2") == [1], "the requeue")
    here.hasten(f"{job}_2")
    here.finish(job)
    assert here.restarts(job) == [0, 1]

    waiting = executable(tmp_path / "waiting", *STUB, "touch began", "exec sleep 30")
    other = slurm.within(tmp_path / "cancelled", FOURCAST=str(waiting))
    cancelled = other.submit(script, [])
    eventually((tmp_path / "cancelled/began").exists, "the start")
    other.call("scancel", cancelled)
    eventually(lambda: other.states(cancelled) == ["CANCELLED"], "the end")
    time.sleep(1)
    assert (other.states(cancelled), other.restarts(cancelled)) == (["CANCELLED"], [0])
