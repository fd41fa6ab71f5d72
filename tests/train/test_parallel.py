"""Strategies, recomputing, compiling and accumulating change memory and speed, not a training."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from ranks_job import ended, errors, together
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from fourcast.config import ModelConfig
from fourcast.distributed import Process, process_group
from fourcast.errors import InputError
from fourcast.mixer_config import (
    AFFConfig,
    AFNOConfig,
    FFCConfig,
    FNOConfig,
    GFNetConfig,
    LongConvConfig,
    MixerConfig,
    NoneConfig,
    ParCConfig,
)
from fourcast.models.build import build_model
from fourcast.models.fourcastnet import Block
from fourcast.train.parallel import average_buffers, clip_gradients, parallelize, shard_dim, synchronising
from fourcast.train_config import ParallelConfig

SHAPE = (3, 8, 12)
BATCH = 8
MIXERS = (
    AFNOConfig(num_blocks=2), AFFConfig(num_blocks=2), FNOConfig(), GFNetConfig(), FFCConfig(), ParCConfig(),
    LongConvConfig(kernel_dropout=0.0), NoneConfig(),
)  # fmt: skip
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")


@dataclass(frozen=True)
class Case:
    """A training of 20 steps."""

    strategy: str = "ddp"
    shard_processes: int | None = None
    recompute: float = 0.0
    accumulate: int = 1
    precision: str = "fp32"

    @property
    def config(self) -> ParallelConfig:
        return ParallelConfig(self.strategy, self.shard_processes, self.recompute, accumulate=self.accumulate)


TWO = [
    Case(accumulate=2, recompute=0.5), Case("fsdp", recompute=0.5), Case("fsdp", accumulate=2), Case("hybrid"),
    Case(precision="bf16"), Case("fsdp", recompute=0.5, accumulate=2, precision="bf16"),
]  # fmt: skip
FOUR = [Case(recompute=0.5), Case("fsdp", recompute=0.5, accumulate=2), Case("hybrid", 2, accumulate=2)]


def network(mixer: MixerConfig, depth: int = 3) -> nn.Module:
    torch.manual_seed(1)
    config = ModelConfig(patch_size=2, embed_dim=16, depth=depth, mixer=mixer, target="residual")
    return build_model(config, (3, 3), SHAPE[1:], torch.tensor([0.5, 0.3, 0.2]))


def rollout_loss(model: nn.Module, x_BCHW: Tensor, precision: str) -> Tensor:
    """Two steps, each towards the state turned by one more column."""
    state, loss = x_BCHW, torch.zeros(())
    for step in (1, 2):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            state = model(state).float()
        loss = loss + (state - x_BCHW.roll(step, -1)).square().mean()
    return loss


def history(case: Case, process: Process) -> list[list[float]]:
    """[loss of the whole batch, gradient norm] at every step."""
    parallel = parallelize(network(AFNOConfig(num_blocks=2)), process, case.config, case.precision)
    optimizer = torch.optim.AdamW(parallel.parameters(), 3e-3)
    generator, found = torch.Generator().manual_seed(2), []
    for _ in range(20):
        batch = torch.randn(BATCH, *SHAPE, generator=generator)
        parts = batch.chunk(process.world_size)[process.rank].chunk(case.accumulate)
        total = torch.zeros(())
        for part in parts:
            with synchronising(parallel, part is parts[-1]):
                loss = rollout_loss(parallel, part, case.precision) / len(parts)
                loss.backward()
            total += loss.detach()
        norm = clip_gradients(parallel, 2.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append([(process.sum(total) / process.world_size).item(), norm.item()])
    return found


def sharded_sizes(process: Process) -> list[int]:
    """Numbers of parameters that each process keeps, before and after validating, and of the whole model."""
    model = network(AFNOConfig(num_blocks=2))
    whole = sum(parameter.numel() for parameter in model.parameters())
    parallelize(model, process, ParallelConfig("fsdp"), "fp32")
    before = [_local(parameter) for parameter in model.parameters()]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *SHAPE))
    return [sum(before), sum(_local(parameter) for parameter in model.parameters()), whole]


def _local(parameter: nn.Parameter) -> int:
    assert isinstance(parameter.data, DTensor)
    return parameter.data.to_local().numel()


def refusals(process: Process) -> list[str]:
    found = []
    for config in (ParallelConfig("hybrid", 3), ParallelConfig("fsdp", compile="reduce-overhead")):
        with pytest.raises(InputError) as error:
            parallelize(network(NoneConfig(), 1), process, config, "fp32")
        found.append(str(error.value))
    return found


def gathered_statistics(process: Process) -> float:
    model = network(FFCConfig(), 1)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.running_mean.fill_(process.rank)
    average_buffers(model, process)
    assert norms
    assert len({value for norm in norms for value in norm.running_mean.tolist()}) == 1
    return float(norms[0].running_mean[0])


def job(report: Path, cases: list[Case]) -> None:
    """What every process does."""
    with process_group("cpu") as process:
        found = {
            "histories": [history(case, process) for case in cases],
            "sizes": sharded_sizes(process),
            "refusals": refusals(process),
            "statistics": gathered_statistics(process),
            "any": [process.any(process.rank == 1), process.any(False)],
            "broadcast": process.broadcast({"rank": process.rank}),
            "place": [process.rank, process.world_size, process.local_rank, process.local_world_size],
        }
    report.with_suffix(f".{process.rank}").write_text(json.dumps(found))


def run(count: int, cases: list[Case], report: Path) -> list[dict]:
    """The reports of all ranks."""
    with together(job, (report, cases), str(report), count) as processes:
        assert ended(processes) == [0] * count, errors(str(report), count)
    return [json.loads(report.with_suffix(f".{rank}").read_text()) for rank in range(count)]


@pytest.fixture(scope="module")
def alone() -> dict[str, list[list[float]]]:
    """The training of one process, by precision."""
    process = Process(0, 1, 0, 1, torch.device("cpu"))
    return {precision: history(Case(precision=precision), process) for precision in ("fp32", "bf16")}


def close(found: list[list[float]], expected: list[list[float]], precision: str) -> bool:
    tolerance = {"fp32": 1e-5, "bf16": 2e-3}[precision]
    return all(new == pytest.approx(old, rel=tolerance) for new, old in zip(found, expected, strict=True))


@pytest.mark.slow
def test_four_processes_train_like_one(alone: dict[str, list[list[float]]], tmp_path: Path) -> None:
    """One start of four processes for all that they must do."""
    assert not close(alone["bf16"], alone["fp32"], "fp32")
    assert alone["fp32"][-1][0] < 0.8 * alone["fp32"][0][0]
    for rank, report in enumerate(run(4, FOUR, tmp_path / "report")):
        for case, found in zip(FOUR, report["histories"], strict=True):
            assert close(found, alone["fp32"], "fp32"), case
        each_keeps_its_share_of_the_parameters_alone(report["sizes"], 4)
        assert "parallel.shard_processes=3 does not divide the 4 processes" in report["refusals"][0]
        assert "parallel.compile=reduce-overhead needs parameters that stay in place" in report["refusals"][1]
        assert report["place"] == [rank, 4, rank, 4]
        assert report["any"] == [True, False]
        assert report["broadcast"] == {"rank": 0}
        assert report["statistics"] == 1.5


def each_keeps_its_share_of_the_parameters_alone(sizes: list[int], processes: int) -> None:
    before, after, whole = sizes
    assert before == after
    assert whole / processes <= before <= 1.05 * whole / processes


@pytest.mark.slow
def test_two_processes_train_like_one(alone: dict[str, list[list[float]]], tmp_path: Path) -> None:
    for report in run(2, TWO, tmp_path / "report"):
        for case, found in zip(TWO, report["histories"], strict=True):
            assert close(found, alone[case.precision], case.precision), case


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.5, 2), (0.7, 2), (1.0, 3)])
def test_the_first_blocks_are_recomputed(fraction: float, expected: int) -> None:
    model, process = network(NoneConfig()), Process(0, 1, 0, 1, torch.device("cpu"))
    assert parallelize(model, process, ParallelConfig("fsdp", recompute=fraction), "bf16") is model
    chosen = [module.recompute for module in model.modules() if isinstance(module, Block)]
    assert chosen == [True] * expected + [False] * (3 - expected)


def test_parameters_are_cut_evenly_where_they_can_be() -> None:
    assert shard_dim(torch.Size([2, 8, 96, 96]), 4) == 1
    assert shard_dim(torch.Size([1, 16200, 768]), 8) == 1
    assert shard_dim(torch.Size([768]), 8) == 0
    assert shard_dim(torch.Size([1, 3, 5]), 2) == 0


def test_gradients_are_clipped_by_their_common_norm() -> None:
    model = nn.Linear(1, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    assert clip_gradients(model, None) == 5.0
    assert clip_gradients(model, 10.0) == 5.0
    assert (model.weight.grad.item(), model.bias.grad.item()) == (3.0, 4.0)
    assert clip_gradients(model, 1.0) == 5.0
    assert (model.weight.grad.item(), model.bias.grad.item()) == pytest.approx((0.6, 0.8), rel=1e-5)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: type(mixer).__name__)
def test_every_mixer_compiles_into_one_graph(mixer: MixerConfig) -> None:
    torch._dynamo.reset()
    plain, compiled, x = network(mixer, 1), network(mixer, 1), torch.randn(2, *SHAPE)
    (block,) = (module for module in compiled.modules() if isinstance(module, Block))
    block.compile(fullgraph=True, dynamic=False)
    for model in (plain, compiled):
        rollout_loss(model, x, "fp32").backward()
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@needs_compiler
@pytest.mark.slow
def test_compiled_blocks_train_like_plain_ones(alone: dict[str, list[list[float]]]) -> None:
    model, process = network(AFNOConfig(num_blocks=2)), Process(0, 1, 0, 1, torch.device("cpu"))
    names = list(model.state_dict())
    parallelize(model, process, ParallelConfig(compile="default", recompute=0.5), "fp32")
    assert list(model.state_dict()) == names
    counters = torch._dynamo.utils.counters
    counters.clear()
    batch = torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(2))
    loss = rollout_loss(model, batch, "fp32")
    loss.backward()
    assert [loss.item(), clip_gradients(model, None).item()] == pytest.approx(alone["fp32"][0], rel=1e-5)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]
