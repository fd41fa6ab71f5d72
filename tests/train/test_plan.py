"""What a training is predicted to take: by hand where that can be worked out, and beside a real training."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fourcast import memory as memory_module
from fourcast.config import ModelConfig, PlanConfig, TrainConfig
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.kernels import dense
from fourcast.kernels.modes import Modes
from fourcast.memory import free_bytes, resident_bytes
from fourcast.train.estimate import Estimate, Memory, compare, estimate, memory
from fourcast.train.ledger import Heap, Ledger
from fourcast.train.machine import Machine, this_machine
from fourcast.train.operators import cost
from fourcast.train.plan import plan, require_fit, table
from fourcast.train.prepare import Task, prepare
from fourcast.train.rehearsal import Scene, rehearse
from fourcast.train_config import OptimConfig, ParallelConfig, RolloutConfig

CPU = torch.device("cpu")
LAPTOP = Machine(on_gpu=False, processes=1, capacity=1e12, resident=1000, speed=1e9)
CLUSTER = Machine(on_gpu=True, processes=4, capacity=8e10, resident=1000, speed=None)


def task_of(store: Path, **changes: object) -> Task:
    return prepare(tiny.train_config(store, store.parent / "never_made", **changes))


def changed(task: Task, **changes: object) -> Task:
    return replace(task, config=replace(task.config, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def task(tiny_store: Path) -> Task:
    return task_of(tiny_store, trackers=None)


def test_linear_layer_by_hand() -> None:
    with FakeTensorMode(), Ledger(None, fused=False) as ledger:
        layer, x = nn.Linear(8, 16), torch.empty(4, 8)
        before = ledger.flops
        y = layer(x)
        assert ledger.flops - before == 2 * 4 * 8 * 16
        assert ledger.held == 4 * (8 * 16 + 16 + 4 * 8 + 4 * 16)
        del y
        assert ledger.held == 4 * (8 * 16 + 16 + 4 * 8)
    assert ledger.peak >= 4 * (8 * 16 + 16 + 4 * 8 + 4 * 16)


@pytest.mark.parametrize("shape", [(2, 9, 15, 32), (1, 45, 90, 64)])
@pytest.mark.parametrize("backward", [False, True])
def test_temporaries_of_spectral_mixing(shape: tuple[int, int, int, int], backward: bool) -> None:
    """The plain implementation, watched at work, holds about as much as is said of it."""
    D, kept = shape[3], Modes().keep(*shape[1:3])
    weight, bias = torch.zeros(2, 4, D // 4, D // 4), torch.zeros(2, 4, D // 4)
    parameters = dense.Parameters(torch.ones(D), torch.zeros(D), weight, bias, weight.clone(), bias.clone())
    dense.tables(kept, shape[2], torch.zeros(1))
    x = torch.zeros(shape)
    given = (x, *parameters, kept.zonal, kept.first_row, kept.row_count, 0.01, 1e-6, "fp32")
    operator = torch.ops.fourcast.spectral_mixing.default
    saved = dense.forward(x, parameters, kept, 1e-6, 0.01)[1:]
    with Ledger(None, fused=False) as ledger:
        if backward:
            results = dense.backward(x, x, *saved, parameters, kept, 0.01)
            given = (x, x, *saved, *given[1:-2])
            operator = torch.ops.fourcast.spectral_mixing_backward.default
        else:
            results = dense.forward(x, parameters, kept, 1e-6, 0.01)
    said = sum(cost(operator, given, False, None).temporaries) + sum(result.nbytes for result in results)
    views = x.nbytes * (2 if backward else 1) + sum(tensor.nbytes for tensor in saved)
    assert 0.6 * said < ledger.peak < 1.4 * said + views


def test_heap_is_taken_and_not_touched() -> None:
    """Pieces too large to come from what earlier tests have freed."""
    heap = Heap.of_this_system()
    if heap is None:
        pytest.skip("needs glibc")
    before = resident_bytes()
    addresses = [heap.take(64 << 20) for _ in range(4)]
    assert heap.held >= 256 << 20
    assert resident_bytes() - before < 20 << 20
    for address in addresses:
        heap.give_back(address)
    assert heap.held < 20 << 20


def test_published_model(task: Task) -> None:
    """74,690,304 parameters with 20 channels, of which weights.pt holds the never-called norm's 2 · 768 more."""
    latitude, longitude = 90 - 0.25 * np.arange(720), 0.25 * np.arange(1440)
    card = replace(task.card, model=ModelConfig(), in_channels=20, out_channels=20)
    card = replace(card, latitude=latitude.tolist(), longitude=longitude.tolist())
    names = tuple(f"t{level}" for level in range(1, 21))
    published = replace(task, card=card, channels=names, step_scale=torch.ones(20))
    found = rehearse(published, Scene(samples=1, rollout=1, updates=1, on_gpu=True))
    assert found.parameters == 74_690_304
    assert found.weights == 4 * (74_690_304 + 2 * 768)
    assert found.batch == 2 * 20 * 720 * 1440 * 4
    assert found.flops > 3 * 2 * 12 * 2 * 768 * 3072 * 90 * 180  # the MLPs alone


def test_states_of_a_training(task: Task) -> None:
    """AdamW: two moments of every number, and the count of its steps for every tensor."""
    averaged = changed(task, optim=OptimConfig(ema_decay=0.9))
    found = rehearse(averaged, Scene(samples=4, rollout=1, updates=2))
    tensors = 4 + 4 + 4 + 2 + 1 + 1  # two norms, mixer, MLP; patch embedding, positions, head
    assert found.gradients == 4 * found.parameters
    assert found.optimizer == 2 * 4 * found.parameters + 4 * tensors
    assert found.average == 4 * found.parameters
    assert found.batch == 4 * 2 * 2 * 8 * 16 * 4
    assert found.peak > found.weights + found.gradients + found.optimizer + found.average + found.batch


def test_what_saves_memory(task: Task) -> None:
    large = changed(task, model=replace(task.config.model, depth=2), batch_size=16)
    large = replace(large, card=replace(task.card, model=large.config.model))
    scene = Scene(samples=16, rollout=1, updates=1, on_gpu=True)
    plain = rehearse(large, scene)
    halves = rehearse(changed(large, parallel=ParallelConfig(accumulate=2)), scene)
    again = rehearse(changed(large, parallel=ParallelConfig(recompute=1.0)), scene)
    assert halves.activations == pytest.approx(plain.activations / 2, rel=0.1)
    assert again.activations < 0.6 * plain.activations
    assert again.flops > 1.15 * plain.flops
    assert halves.flops == pytest.approx(plain.flops, rel=0.01)
    far = rehearse(large, replace(scene, rollout=3))
    last = rehearse(changed(large, rollout=RolloutConfig(3, backprop_steps=1)), replace(scene, rollout=3))
    assert far.activations > 2.5 * plain.activations
    assert last.activations < 1.5 * plain.activations


def test_nothing_is_left_behind(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither tables without data in the kernels' memory, nor the choice of kernels, nor a parameter."""
    monkeypatch.delenv("FOURCAST_KERNELS", raising=False)
    for on_gpu in (False, True):
        rehearse(task, Scene(samples=2, rollout=1, updates=1, on_gpu=on_gpu))
    assert "FOURCAST_KERNELS" not in os.environ
    kept = Modes().keep(2, 4)
    assert all(type(table) is torch.Tensor for table in dense.tables(kept, 4, torch.zeros(1)))


def test_bytes_read_and_written(task: Task) -> None:
    found = estimate(task, LAPTOP, updates=2)
    state = 2 * 8 * 16 * 4
    assert found.sample == 2 * state
    assert found.step == 4 * 2 * state
    assert found.memory.data == state * (32 + 8)  # all analyses of both periods
    assert found.checkpoint == found.memory.weights + found.memory.optimizer
    assert found.store > 0
    assert found.seconds == pytest.approx(found.flops / 0.5e9)
    assert found.hours == pytest.approx(6 * found.flops / 0.5e9 / 3600)


def test_stages_take_their_own_time(task: Task) -> None:
    three = estimate(changed(task, rollout=RolloutConfig(3)), LAPTOP, updates=1)
    staged = estimate(changed(task, rollout=RolloutConfig({0: 1, 2: 3})), LAPTOP, updates=1)
    one = estimate(task, LAPTOP, updates=1)
    assert one.hours is not None
    assert three.hours is not None
    assert staged.hours == pytest.approx(one.hours * 2 / 6 + three.hours * 4 / 6, rel=0.01)


def test_shards(task: Task) -> None:
    whole = memory(task, CLUSTER)
    shards = memory(changed(task, parallel=ParallelConfig("fsdp")), CLUSTER)
    halves = memory(changed(task, parallel=ParallelConfig("hybrid", shard_processes=2)), CLUSTER)
    assert shards.optimizer == pytest.approx(whole.optimizer / 4, abs=1)
    assert halves.weights == pytest.approx(whole.weights / 2, abs=1)
    with pytest.raises(InputError, match="batch_size=4 cannot be divided among 3 ranks"):
        memory(task, replace(CLUSTER, processes=3))


def test_refusal_names_what_would_fit(task: Task) -> None:
    far = replace(CLUSTER, processes=1)
    found, halves = estimate(task, far), memory(changed(task, parallel=ParallelConfig(accumulate=2)), far)
    with pytest.raises(InputError, match=r"would need .* and has .*; any one .*parallel\.accumulate=2 \(") as refused:
        require_fit(task, replace(far, capacity=halves.peak), found)
    assert "batch_size=2" in str(refused.value)
    require_fit(task, replace(far, capacity=found.memory.peak), found)
    with pytest.raises(InputError, match=r"even parallel\.accumulate=4 .*make the model"):
        require_fit(task, replace(far, capacity=1e4), found)


def test_comparison() -> None:
    held = Memory(*[0] * 10, peak=1_200_000_000, host=0)
    found = Estimate(0, held, 0, 0, 0, 0, 0, 0, seconds=3.0, hours=1.0)
    assert compare(found, 1_000_000_000, 2.0) == (
        "memory 1.00 GB, predicted 1.20 GB (+20 %); a step 2 s, guessed 3 s (+50 %)"
    )


def test_limits_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, information = tmp_path / "memory.max", tmp_path / "meminfo"
    information.write_text("MemTotal:  9999 kB\nMemAvailable:    2000000 kB\n")
    monkeypatch.setattr(memory_module, "MEMORY", information)
    monkeypatch.setattr(memory_module, "LIMITS", (limit, tmp_path / "none"))
    assert free_bytes(CPU) >= 2_048_000_000
    limit.write_text("max\n")
    assert free_bytes(CPU) >= 2_048_000_000
    limit.write_text("1000000000\n")
    assert free_bytes(CPU) == 1_000_000_000


def test_a_machine_that_is_not_here(task: Task) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    far = this_machine("cuda", "bf16", 4, 80.0)
    assert far.on_gpu
    assert (far.capacity, far.processes, far.speed) == (80e9, 4, None)
    found = estimate(task, far)
    assert "the device is not here" in table(task, far, found)
    assert found.memory.host != found.memory.peak
    with pytest.raises(InputError, match="sees no GPU"):
        this_machine("cuda", "bf16", 4, None)


def test_the_verb(tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained: TrainConfig = tiny.train_config(tiny_store, tmp_path / "run", trackers=None)
    found = plan(PlanConfig(**vars(trained)))
    printed = capsys.readouterr().out
    assert f"{found.parameters:,} parameters, 2 channels, 8×16, batches of 4 on 1 × CPU" in printed
    assert "a rough guess" in printed
    assert not (tmp_path / "run").exists()


REAL = """
import json, sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_plan import sized
config = sized(Path({folder!r}), {size!r})
if {real}:
    from fourcast.train.loop import train
    from fourcast.memory import peak_memory
    import torch
    train(config)
    print(peak_memory(torch.device("cpu")))
else:
    from fourcast.train.plan import estimate, prepare, this_machine
    print(estimate(prepare(config), this_machine("cpu", "fp32", 1, None)).memory.peak)
"""
SIZES = {
    "small": ((32, 64), 32, ModelConfig(patch_size=4, embed_dim=192, depth=4, target="residual"), {}),
    "medium": ((120, 240), 8, ModelConfig(patch_size=8, embed_dim=256, depth=6), {}),
    "large": ((180, 360), 2, ModelConfig(patch_size=4, embed_dim=384, depth=8), {}),
    "recomputed": ((180, 360), 2, ModelConfig(patch_size=4, embed_dim=384, depth=8),
                   {"parallel": ParallelConfig(recompute=1.0)}),
    "half recomputed": ((120, 240), 8, ModelConfig(patch_size=8, embed_dim=256, depth=6),
                        {"parallel": ParallelConfig(recompute=0.5)}),
    "rolled out": ((120, 240), 8, ModelConfig(patch_size=8, embed_dim=256, depth=6), {"rollout": RolloutConfig(3)}),
}  # fmt: skip
CHANNELS = tuple(f"{name}{level}" for name in "tuvz" for level in (250, 500, 700, 850, 1000))


def sized(folder: Path, size: str) -> TrainConfig:
    """A training of one of ``SIZES``; its store is made once."""
    (h, w), batch, model, changes = SIZES[size]
    grid = Grid(90 - 180 / h * np.arange(h), 360 / w * np.arange(w))
    store = folder / "store.zarr"
    if not store.exists():
        fields = np.random.default_rng(0).standard_normal((40, len(CHANNELS), h, w), np.float32)
        tiny.write_store(store, tiny.TIMES, fields, CHANNELS, grid)
    return tiny.train_config(store, folder / "run", model=model, batch_size=batch, steps=4, trackers=None, **changes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="heaps of other systems are not known")
@pytest.mark.parametrize("size", SIZES)
def test_beside_a_real_training(size: str, tmp_path: Path) -> None:
    sized(tmp_path, size)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = []
    for real in (False, True):
        folders = [str(Path(file).parent) for file in (__file__, tiny.__file__)]
        program = REAL.format(tests=folders, folder=str(tmp_path), size=size, real=real)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(int(done.stdout.split()[-1]))
    predicted, measured = found
    print(f"{size}: predicted {predicted / 1e6:.0f} MB, found {measured / 1e6:.0f} MB")
    assert predicted == pytest.approx(measured, rel=0.15)
