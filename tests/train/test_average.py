"""The running average of the weights: its numbers, and swapping it in and out."""

from pathlib import Path

import pytest
import torch
from tiny import model_config
from torch import Tensor, nn
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fourcast.models.build import build_model
from fourcast.train.average import WeightAverage


def network() -> nn.Module:
    """A residual model of one channel for 8 × 4 values, and with it parameters of all shapes and a buffer."""
    torch.manual_seed(0)
    return build_model(model_config(target="residual"), (1, 1), (8, 4), torch.ones(1))


def scalar(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    put(model, value)
    return model


@torch.no_grad()
def put(model: nn.Module, value: float) -> nn.Module:
    for parameter in model.parameters():
        parameter.fill_(value)
    return model


def bits(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone().view(torch.int32) for parameter in model.parameters()]


def test_the_average_by_hand() -> None:
    model = scalar(0.0)
    average = WeightAverage(model, decay=0.5)
    # decays 1/10, 2/11, 3/12, … 8/17, then the 0.5 asked for: (1 + 8) / (10 + 8)
    expected = 0.0
    for updates, decay in enumerate((1 / 10, 2 / 11, 3 / 12, 4 / 13)):
        average.update(put(model, updates + 1.0), updates)
        expected = decay * expected + (1 - decay) * (updates + 1)
        assert average.tensors["weight"].item() == pytest.approx(expected)
    for updates in (8, 9, 1000):
        average.tensors["weight"].fill_(4.0)
        average.update(put(model, 6.0), updates)
        assert average.tensors["weight"].item() == 5.0


def test_weights_that_stay_are_their_own_average() -> None:
    model = network()
    average = WeightAverage(model, decay=0.99)
    for updates in range(5):
        average.update(model, updates)
    assert list(average.tensors) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert torch.equal(average.tensors[name], parameter)
        assert not average.tensors[name].requires_grad


def test_after_its_ramp_it_is_the_average_of_torch() -> None:
    model = network()
    average = WeightAverage(model, decay=0.9)
    reference = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    reference.update_parameters(model)  # the first one copies
    for updates in range(100, 106):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        average.update(model, updates)
        reference.update_parameters(model)
    for name, parameter in reference.module.named_parameters():
        torch.testing.assert_close(average.tensors[name], parameter.detach(), rtol=1e-6, atol=1e-7)


def test_half_precision_weights_have_a_float32_average() -> None:
    model = scalar(1.0).bfloat16()
    average = WeightAverage(model, decay=0.999)
    average.update(put(model, 2.0), 10**6)
    assert average.tensors["weight"].item() == pytest.approx(1.001)  # bfloat16 has nothing between 1 and 1.0078
    with average.applied(model):
        assert model.weight.dtype == torch.bfloat16
        assert model.weight.item() == 1.0


def test_within_applied_the_model_computes_with_the_average() -> None:
    model, other = network(), network()
    average = WeightAverage(model, decay=0.9)
    put(model, 0.25)
    x = torch.randn(2, 1, 8, 4)
    outside = model(x)
    with average.applied(model), torch.no_grad():
        assert torch.equal(model(x), other(x))
    assert torch.equal(model(x), outside)
    assert not torch.equal(other(x), outside)


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("breaks", [False, True])
def test_after_applied_every_bit_is_back(breaks: bool) -> None:
    model = network()
    average = WeightAverage(model, decay=0.9)
    own = [id(parameter) for parameter in model.parameters()]
    with torch.no_grad():
        first = next(model.parameters())
        first.copy_(1 / 3 + torch.rand_like(first))
        first.view(-1)[:4] = torch.tensor([-0.0, 1e-42, torch.nan, -torch.inf])
    before, averaged = bits(model), {name: tensor.clone() for name, tensor in average.tensors.items()}
    try:
        with average.applied(model):
            assert not torch.equal(bits(model)[0], before[0])
            put(model, 7.0)
            if breaks:
                raise BrokenError
    except BrokenError:
        assert breaks
    assert all(torch.equal(found, expected) for found, expected in zip(bits(model), before, strict=True))
    assert [id(parameter) for parameter in model.parameters()] == own
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(average.tensors[name], tensor) for name, tensor in averaged.items())


def test_what_is_filled_in_is_loaded() -> None:
    model = scalar(1.0)
    average = WeightAverage(model, decay=0.5)
    average.tensors["weight"].copy_(torch.tensor([[3.0]]))
    with average.applied(model):
        assert model.weight.item() == 3.0
    average.update(model, 1000)
    assert average.tensors["weight"].item() == 2.0


def sharded(rank: int, store: str) -> None:
    """In one of two processes: the average of shards is the shards of the average."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    plain, model, x = network(), network(), torch.ones(2, 1, 8, 4)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)), reshard_after_forward=True)
    averages = [WeightAverage(each, decay=0.9) for each in (plain, model)]
    for each, average in zip((plain, model), averages, strict=True):
        put(each, 0.25)
        average.update(each, 20)
    for name, tensor in averages[1].tensors.items():
        assert isinstance(tensor, DTensor)
        torch.testing.assert_close(tensor.full_tensor(), averages[0].tensors[name])
    with torch.no_grad():
        outside = model(x)
        with averages[0].applied(plain), averages[1].applied(model):
            torch.testing.assert_close(model(x), plain(x))
            assert not torch.equal(model(x), outside)
        assert torch.equal(model(x), outside)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_shards_are_averaged_where_they_are(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(sharded, (str(tmp_path / "store"),), nprocs=2)
