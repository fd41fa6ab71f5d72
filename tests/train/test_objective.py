"""What is minimised: which steps count, through which of them the gradient flows, and what noise the model sees."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import model_config, train_config
from torch import Tensor, nn

from fourcast.train.loss import Loss
from fourcast.train.noise import training_noise
from fourcast.train.objective import Draw, Rollout, make_objective
from fourcast.train.prepare import prepare
from fourcast.train_config import LossConfig, RolloutConfig

DRAW = Draw(seed=3, step=7, places=range(4, 6))
CPU = torch.device("cpu")


class Scale(nn.Module):
    """One weight, the factor of a step; ``seen`` holds all inputs."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen: list[Tensor] = []

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.seen.append(x_BCHW.detach())
        return x_BCHW[:, :2] * self.factor


def squared(predictions: Tensor, targets: Tensor) -> Tensor:
    return ((predictions - targets) ** 2).mean()


def rollout(loss: Loss = squared, **changes: object) -> Rollout:
    return replace(Rollout(("t2m", "z500"), ("t2m", "z500"), loss, "fp32"), **changes)  # type: ignore[arg-type]


def ones_then_zeros(steps: int) -> Tensor:
    """[1, S, 2, 1, 1]: a state of 1 and targets of 0."""
    states = torch.zeros(1, steps + 1, 2, 1, 1)
    states[:, 0] = 1.0
    return states


def test_the_loss_is_the_mean_over_the_steps() -> None:
    # Each step doubles: errors 2, 4, 8, squares 4, 16, 64, mean 28.
    assert rollout()(Scale(2.0), ones_then_zeros(3), DRAW).item() == 28.0


@pytest.mark.parametrize(
    ("backprop_steps", "gradient"),
    [
        # L = (w² + w⁴ + w⁶) / 3; dL/dw at 2 = (2·2 + 4·8 + 6·32) / 3.
        (None, 228 / 3),
        (3, 228 / 3),
        (7, 228 / 3),
        # The first state, 2, is a constant: L = (4 + (2w)² + (2w²)²) / 3; dL/dw = (8w + 16w³) / 3.
        (2, (16 + 128) / 3),
        # So is the second, 4: L = (4 + 16 + (4w)²) / 3; dL/dw = 32w / 3.
        (1, 64 / 3),
    ],
)
def test_the_gradient_flows_through_the_last_steps_alone(backprop_steps: int | None, gradient: float) -> None:
    model = Scale(2.0)
    loss = rollout(backprop_steps=backprop_steps)(model, ones_then_zeros(3), DRAW)
    assert loss.item() == 28.0
    loss.backward()
    assert model.factor.grad is not None
    assert model.factor.grad.item() == pytest.approx(gradient)


def test_the_gradient_is_that_of_a_graph_made_by_hand() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(2, 2, 3, padding=1)
    states = torch.randn(2, 5, 2, 4, 8)
    rollout(backprop_steps=2)(model, states, DRAW).backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with torch.no_grad():
        second = model(model(states[:, 0]))
    third = model(second)
    ((squared(third, states[:, 3]) + squared(model(third), states[:, 4])) / 4).backward()
    for grad, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_without_gradients_none_is_recorded() -> None:
    with torch.no_grad():
        assert not rollout(backprop_steps=1)(Scale(2.0), ones_then_zeros(2), DRAW).requires_grad


def test_members_are_adjacent_and_noise_stands_behind_the_state() -> None:
    model = Scale(1.0)
    states = torch.arange(2.0)[:, None, None, None, None].expand(2, 3, 2, 4, 8)  # sample b is b everywhere
    noisy = rollout(members=3, noise_channels=2)
    pairs = list(noisy.predictions(model, states, DRAW))
    for step, (predictions, targets) in enumerate(pairs, 1):
        assert predictions[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
        assert targets.equal(states[:, step])
        assert model.seen[step - 1].shape == (6, 4, 4, 8)
        expected = training_noise((3, 7, step), range(4, 6), 3, (2, 4, 8), CPU)
        assert model.seen[step - 1][:, 2:].equal(expected)
    first, second = (seen[:, 2:] for seen in model.seen)
    assert len(torch.cat([first, second]).flatten(1).unique(dim=0)) == 12  # of every member and step its own


def test_noise_follows_a_sample_into_another_part_of_the_batch() -> None:
    model, states = Scale(1.0), torch.zeros(4, 2, 2, 4, 8)
    noisy = rollout(members=2, noise_channels=1)
    list(noisy.predictions(model, states, Draw(0, 0, range(4))))
    list(noisy.predictions(model, states[2:], Draw(0, 0, range(2, 4))))
    assert model.seen[1].equal(model.seen[0][4:])


def test_bf16_rounds_inside_the_model_and_not_the_state() -> None:
    model = nn.Conv2d(2, 2, 1)
    states = torch.randn(1, 3, 2, 4, 8)
    dtypes = []
    model.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    for predictions, _ in rollout(precision="bf16").predictions(model, states, DRAW):
        assert predictions.dtype == torch.float32
    assert dtypes == [torch.bfloat16, torch.bfloat16]


def test_an_objective_is_what_the_configuration_says(tiny_store: Path, tmp_path: Path) -> None:
    config = train_config(
        tiny_store, tmp_path / "run", model=model_config(noise_channels=2),
        loss=LossConfig(name="crps", crps_members=3), rollout=RolloutConfig(4, backprop_steps=2), precision="bf16",
    )  # fmt: skip
    found = make_objective(prepare(config), CPU)
    assert isinstance(found, Rollout)
    assert (found.members, found.noise_channels, found.backprop_steps, found.precision) == (3, 2, 2, "bf16")
    assert found.inputs == found.channels == ("t2m", "z500")
