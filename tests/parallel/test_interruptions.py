"""A training that is killed, asked to stop or finds the disk full goes on as if nothing had happened, bit for bit."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks_job import PATIENCE, Torchrun, ended, errors, finish, ranks
from tiny import OVERRIDES, ROOT, model_config, tensors_of, train_config

from fourcast.checkpoint import load_model, training_checkpoints
from fourcast.config import TrainConfig
from fourcast.files import read_json
from fourcast.train.signals import EXIT_INTERRUPTED
from fourcast.train_config import OptimConfig, ParallelConfig, RolloutConfig

STEPS = 12
Processes = list[ForkServerProcess]
Undisturbed = Callable[[str], Path]


@dataclass(frozen=True)
class Trial:
    """What happens to a training, and when: once it has logged ``lines`` lines, and ``delay`` seconds later.

    setup: its ranks and how they share a model, as in ``2 fsdp``.
    """

    what: str
    setup: str
    lines: int
    delay: float
    in_background: bool = True

    @property
    def count(self) -> int:
        return int(self.setup.split()[0])


def kill_one(processes: Processes) -> list[int]:
    processes[-1].kill()
    return [1] * (len(processes) - 1) + [-9]


def kill_all(processes: Processes) -> list[int]:
    """Stopped first, none sees another one die."""
    for process in processes:
        with suppress(ProcessLookupError):  # it may have been done before
            os.kill(process.pid or 0, signal.SIGSTOP)
    for process in processes:
        process.kill()
    return [-9] * len(processes)


def ask_one(processes: Processes) -> list[int]:
    with suppress(ProcessLookupError):
        os.kill(processes[-1].pid or 0, signal.SIGUSR1)
    return [EXIT_INTERRUPTED] * len(processes)


def ask_all(processes: Processes) -> list[int]:
    for process in processes:
        process.terminate()
    return [EXIT_INTERRUPTED] * len(processes)


def fill_disk(processes: Processes) -> list[int]:
    """Files may not grow beyond what the log needs."""
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid or 0, resource.RLIMIT_FSIZE, (10_000, 10_000))
    return [1] * len(processes)


INTERRUPTIONS = {function.__name__: function for function in (kill_all, fill_disk, ask_all, kill_one, ask_one)}
"""Each does what its name says to processes and returns the exit statuses that they should end with."""


def random_trials(count: int, seed: int) -> list[Trial]:
    draw = np.random.default_rng(seed)
    setups, whats = ("1 ddp", "2 ddp", "2 fsdp"), list(INTERRUPTIONS)
    return [
        Trial(
            whats[i % len(whats)], setups[int(draw.integers(3))], int(draw.integers(1, STEPS)),
            float(draw.uniform(0, 0.05)), bool(draw.integers(4)),
        )
        for i in range(count)
    ]  # fmt: skip


FEW = [Trial("kill_all", "2 fsdp", 7, 0.013), Trial("ask_all", "1 ddp", 3, 0.007)]
FULL = Trial("fill_disk", "2 fsdp", 5, 0.0)
TRIALS = [
    *(pytest.param(trial, id=f"{trial.what} {trial.setup}") for trial in FEW),
    pytest.param(FULL, id=f"{FULL.what} {FULL.setup}", marks=pytest.mark.slow),
    *(
        pytest.param(trial, id=f"{i} {trial.what} {trial.setup}", marks=pytest.mark.slow)
        for i, trial in enumerate(random_trials(20, seed=6))
    ),
]


def training(store: Path, output: Path, setup: str, in_background: bool = True) -> TrainConfig:
    return train_config(
        store, output, steps=STEPS, log_every=1, checkpoint_every=2, validate_every=4, validation_samples=5,
        model=model_config(drop_rate=0.2), rollout=RolloutConfig({0: 1, 6: 2}), async_checkpoints=in_background,
        optim=OptimConfig(gradient_clip=0.1, ema_decay=0.9), parallel=ParallelConfig(setup.split()[1]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """From ranks and strategy to a run that nothing happened to; made once."""
    folder = tmp_path_factory.mktemp("undisturbed")

    def make(setup: str) -> Path:
        run = folder / setup.replace(" ", "_")
        if not run.exists():
            finish(training(tiny_store, run, setup), int(setup[0]))
        return run

    return make


def wait(until: Callable[[], bool], alive: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while alive() and not until():
        assert time.monotonic() < limit
        time.sleep(0.001)


def await_lines(run: Path, count: int, alive: Callable[[], bool]) -> None:
    log = run / "log.jsonl"
    wait(lambda: log.exists() and log.read_bytes().count(b"\n") >= count, alive)


def interrupted(config: TrainConfig, trial: Trial) -> bool:
    """Begin a training and disturb it; False where it was done before it could be."""
    with ranks(config, trial.count) as processes:

        def alive() -> bool:
            return all(process.is_alive() for process in processes)

        wait(lambda: "parameters" in errors(config.output, 1), alive)  # it has begun, and heeds signals
        await_lines(Path(config.output), trial.lines, alive)
        time.sleep(trial.delay)
        expected = INTERRUPTIONS[trial.what](processes)
        found = ended(processes)
    said = errors(config.output, trial.count)
    done = (Path(config.output) / "checkpoints" / f"step_{STEPS:08d}").exists()  # how its processes part is then open
    late = {0, 1, *expected, -signal.SIGTERM, -signal.SIGUSR1}
    assert found in (expected, [0] * trial.count) or (done and set(found) <= late), said
    assert trial.what != "fill_disk" or found != expected or said.count("File too large") >= trial.count, said
    return found == expected


def assert_sound(run: Path) -> None:
    """Every checkpoint in the list is whole, and the best is one of them."""
    listed = training_checkpoints(run)
    for path in listed:
        assert read_json(path / "position.json")["position"]["step"] == int(path.name[-8:])
        assert all(torch.isfinite(tensor).all() for tensor in tensors_of(path, "").values())
        load_model(path)
    if (run / "best.json").exists():
        assert read_json(run / "best.json")["checkpoint"] in [path.name for path in listed]


def assert_same(run: Path, undisturbed: Path) -> None:
    """All that a training leaves is the same, to the last bit, and nothing is half-made.

    But a checkpoint of the step that it was stopped after may stand in the place of an older one.
    """
    for name in ("log.jsonl", "best.json"):
        assert (run / name).read_text() == (undisturbed / name).read_text()
    names, found_names = ({path.name for path in training_checkpoints(one)} for one in (undisturbed, run))
    assert {path.name for path in (run / "checkpoints").iterdir()} == found_names
    assert len(found_names) == len(names)
    assert f"step_{STEPS:08d}" in found_names
    for name in names & found_names:
        expected, found = tensors_of(undisturbed / "checkpoints" / name, ""), tensors_of(run / "checkpoints" / name, "")
        assert {key.partition(".")[0] for key in expected} == {"model", "average", "optimizer"}
        assert expected.keys() == found.keys()
        assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
        for file in ("position.json", "checkpoint.json"):
            own, other = (path / "checkpoints" / name / file for path in (run, undisturbed))
            assert own.read_text() == other.read_text()
    assert list(run.rglob("*.partial")) == []


@pytest.mark.parametrize("trial", TRIALS)
def test_a_training_goes_on_as_if_nothing_had_happened(
    tiny_store: Path, undisturbed: Undisturbed, tmp_path: Path, trial: Trial
) -> None:
    config = training(tiny_store, tmp_path / "run", trial.setup, trial.in_background)
    while not interrupted(config, trial):  # a busy machine may notice too late
        shutil.rmtree(config.output)
        trial = replace(trial, delay=trial.delay / 2, lines=max(trial.lines - 1, 1))
    assert_sound(tmp_path / "run")
    finish(config, trial.count)
    assert_same(tmp_path / "run", undisturbed(trial.setup))


@pytest.mark.slow
def test_one_interruption_after_the_other(tiny_store: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """As on a cluster where jobs are short; the last may come when nothing is left to do.

    No single rank is killed here: a peer that is still connecting to it waits for gloo's half hour, or its launcher.
    """
    config = training(tiny_store, tmp_path / "run", "2 fsdp")
    for trial in random_trials(8, seed=7):
        what = trial.what.replace("kill_one", "kill_all")
        interrupted(config, replace(trial, what=what, setup="2 fsdp"))
        assert_sound(tmp_path / "run")
    finish(config, 2)
    assert_same(tmp_path / "run", undisturbed("2 fsdp"))


@pytest.mark.slow
def test_torchrun_starts_ranks_again(tiny_store: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """One rank dies; with restarts, the same torchrun ends as if it had not."""
    config = training(tiny_store, tmp_path / "run", "2 fsdp")
    with Torchrun(tmp_path / "torchrun", [config], 2, "--max-restarts=1") as torchrun:
        await_lines(tmp_path / "run", 5, lambda: torchrun.process.poll() is None)
        os.kill(torchrun.ranks[1], signal.SIGKILL)
        assert torchrun.errors() == ""
    assert_same(tmp_path / "run", undisturbed("2 fsdp"))


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGUSR1])
def test_torchrun_passes_a_signal_on(
    tiny_store: Path, undisturbed: Undisturbed, tmp_path: Path, asked: signal.Signals
) -> None:
    """Its ranks save a checkpoint and stop."""
    config = training(tiny_store, tmp_path / "run", "2 ddp")
    with Torchrun(tmp_path / "torchrun", [config], 2, "--signals-to-handle=SIGTERM,SIGUSR1") as torchrun:
        await_lines(tmp_path / "run", 5, lambda: torchrun.process.poll() is None)
        torchrun.process.send_signal(asked)
        assert "as asked; the same command goes on from there" in torchrun.errors()
    assert_sound(tmp_path / "run")
    assert list((tmp_path / "run").rglob("*.partial")) == []
    finish(config, 2)
    assert_same(tmp_path / "run", undisturbed("2 ddp"))


def on_small_disk(run: Path, kilobytes: int, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ``command`` where the folder ``run`` is a disk of its own, of that size; keep what is on it in the end."""
    script = (
        'run="$1"; mount -t tmpfs -o size="$2"k tmpfs "$run" || exit 99; shift 2; "$@"; status=$?; '
        'cp -a "$run" "$run.kept"; exit $status'
    )
    run.mkdir()
    wrapped = ["unshare", "-Urm", "sh", "-c", script, "sh", str(run), str(kilobytes), *command]
    return subprocess.run(wrapped, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(("kilobytes", "in_background"), [(40, True), (350, True), (350, False)])
def test_a_full_disk_is_one_line(tiny_store: Path, tmp_path: Path, kilobytes: int, in_background: bool) -> None:
    run = tmp_path / "run"
    if shutil.which("unshare") is None or on_small_disk(tmp_path / "probe", 10, ["true"]).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    command = [
        sys.executable, "-m", "fourcast", "train", *OVERRIDES, f"data.store={tiny_store}", f"steps={STEPS}",
        "log_every=1", "validate_every=4", "checkpoint_every=2", f"async_checkpoints={in_background}",
        "hydra.run.dir=.", "hydra.output_subdir=null",
    ]  # fmt: skip
    found = on_small_disk(run, kilobytes, [*command, f"output={run}"])
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("fourcast train: ")
    assert "No space left on device" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert_sound(tmp_path / "run.kept")
    subprocess.run([*command, f"output={run}.kept"], check=True, cwd=ROOT, timeout=PATIENCE)
    subprocess.run([*command, f"output={tmp_path}/undisturbed"], check=True, cwd=ROOT, timeout=PATIENCE)
    assert read_json(tmp_path / "run.kept/best.json") == read_json(tmp_path / "undisturbed/best.json")
    assert (tmp_path / "run.kept/log.jsonl").read_text() == (tmp_path / "undisturbed/log.jsonl").read_text()
