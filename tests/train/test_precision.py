"""Autocast, TF32, and float16's loss scale."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict

import pytest
import torch
from torch import nn

from fourcast.train import precision
from fourcast.train.precision import LossScale, autocast, set_matmul_precision, unscale

CPU = torch.device("cpu")


@pytest.fixture
def restored() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(("name", "dtype"), [
    ("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)
])  # fmt: skip
def test_products_have_the_type_of_the_precision(name: str, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2)
    with warnings.catch_warnings(action="error"), autocast(CPU, name):
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_gradients_of_several_uses_are_added_in_float32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with autocast(CPU, "bf16"):
        large, small = layer(torch.ones(1, 1)), layer(torch.full((1, 1), 2.0**-10))
    (large + small).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == 1 + 2.0**-10  # which bfloat16 rounds to 1


def test_a_use_without_gradient_leaves_the_next_its_own() -> None:
    layer = nn.Linear(1, 1)
    with autocast(CPU, "bf16"):
        with torch.no_grad():
            first = layer(torch.ones(1, 1))
        layer(first).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == first.item()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_only_tf32_rounds_float32(name: str) -> None:
    for chosen, rounded in (("tf32", True), (name, False), ("tf32", True)):
        with warnings.catch_warnings(action="error"):
            set_matmul_precision(chosen)
            assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")
            assert torch.backends.cudnn.allow_tf32 is rounded
            assert torch.backends.cuda.matmul.allow_tf32 is rounded
        assert (torch.backends.cuda.matmul.fp32_precision == "tf32") is rounded
        assert (torch.backends.cudnn.conv.fp32_precision == "tf32") is rounded


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_only_fp16_is_scaled(name: str) -> None:
    scale = LossScale.of(name)
    for finite in 3000 * [True] + [False]:
        scale.update(finite)
        assert scale.value == 1.0


def test_the_scale_by_hand() -> None:
    scale = LossScale.of("fp16")
    assert scale.value == 65536.0
    scale.update(False)
    assert scale.value == 32768.0
    for _ in range(1999):
        scale.update(True)
    assert scale.value == 32768.0
    scale.update(True)
    assert scale.value == 65536.0
    for _ in range(1999):
        scale.update(True)
    scale.update(False)
    scale.update(True)  # the second in a row only: the first 1999 no longer count
    assert scale.value == 32768.0
    for _ in range(15):
        scale.update(False)
    assert scale.value == 1.0
    scale.update(False)
    assert scale.value == 1.0


def test_the_scale_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "GROWTH_STEPS", 3)
    reference = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scale, values = LossScale.of("fp16"), set()
    for finite in (torch.rand(60, generator=torch.Generator().manual_seed(0)) > 0.2).tolist():
        scale.update(finite)
        scale = LossScale(**json.loads(json.dumps(asdict(scale))))
        reference.scale(weight.sum())  # a scaler is not there until its first use
        weight.grad = torch.tensor([1.0 if finite else torch.inf])
        reference.step(optimizer)
        reference.update()
        assert scale.value == reference.get_scale()
        values.add(scale.value)
    assert len(values) > 3


def test_gradients_too_small_for_float16_survive_scaled() -> None:
    layer = nn.Linear(2, 1, bias=False)
    scale, gradients = LossScale.of("fp16"), []
    for factor in (LossScale.of("fp32"), scale):
        layer.zero_grad()
        with autocast(CPU, "fp16"):
            loss = layer(torch.tensor([[1.0, 3.0]])).float().sum() * 1e-9
        (loss * factor.value).backward()
        unscale(layer, factor)
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad.clone())
    assert torch.equal(gradients[0], torch.zeros(1, 2))
    torch.testing.assert_close(gradients[1], torch.tensor([[1e-9, 3e-9]]), rtol=1e-3, atol=0.0)


def test_unscaling_gives_the_very_gradient_and_lets_frozen_weights_be() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 1))
    model[0].bias.requires_grad_(False)
    x = torch.randn(4, 3)
    model(x).sum().backward()
    expected = [None if own.grad is None else own.grad.clone() for own in model.parameters()]
    model.zero_grad()
    scale = LossScale.of("fp16")
    (model(x).sum() * scale.value).backward()
    unscale(model, scale)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        if gradient is None or parameter.grad is None:
            assert parameter.grad is gradient is model[0].bias.grad
        else:
            assert torch.equal(parameter.grad, gradient)  # the scale is a power of 2
