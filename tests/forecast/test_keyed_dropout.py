"""Dropout at forecast time: a member's masks are its own, wherever it is computed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_batching import forecaster
from tiny import CARD, model_config
from torch import Tensor, nn

from fourcast.checkpoint import build
from fourcast.errors import InputError
from fourcast.forecast.batching import Batch, Batching
from fourcast.forecast.dropout import KeyedDropout, drawing, make_keyed
from fourcast.forecast.rollout import rollout

ONES = torch.ones(3, 40, 50)
INIT = np.datetime64("2026-08-10T18", "h")


def keys(*members: int, seed: int = 7, hours: int = 100, step: int = 1) -> list[tuple[int, int, int, int]]:
    return [(seed, hours, member, step) for member in members]


def dropped(members: list[tuple[int, int, int, int]], rate: float = 0.25, layers: int = 1) -> Tensor:
    """What the last of ``layers`` in a row makes of ones, [M, 40, 50]."""
    layer = KeyedDropout(rate)
    with drawing(members):
        return [layer(torch.ones(len(members), 40, 50)) for _ in range(layers)][-1]


def test_outside_a_drawing_nothing_is_dropped() -> None:
    layer = KeyedDropout(0.5).train()
    assert layer(ONES) is ONES
    with drawing(keys(1, 2, 3)):
        assert not torch.equal(layer(ONES), ONES)
    assert layer(ONES) is ONES


def test_a_rate_of_values_is_dropped_and_the_mean_kept() -> None:
    """Of 2000 values 500 ± 19 (one standard deviation) are dropped; the others grow to 4/3."""
    found = dropped(keys(1, 2, 3))
    assert set(found.unique().tolist()) == {0.0, np.float32(4 / 3)}
    assert torch.allclose((found == 0).float().mean((1, 2)), torch.tensor(0.25), atol=0.05)
    assert torch.allclose(found.mean((1, 2)), torch.tensor(1.0), atol=0.06)


def test_masks_follow_the_member_whatever_its_batch() -> None:
    together = dropped(keys(0, 37, 5))
    assert torch.equal(dropped(keys(37))[0], together[1])
    assert torch.equal(dropped(keys(5, 37, 37))[1:], together[[1, 1]])


@pytest.mark.parametrize("other", [{"seed": 8}, {"hours": 101}, {"step": 2}])
def test_masks_differ_between_seeds_times_and_steps(other: dict[str, int]) -> None:
    assert (dropped(keys(3)) != dropped(keys(3, **other))).float().mean() > 0.2  # 2 · 0.25 · 0.75 = 0.375


def test_masks_differ_between_members_and_layers() -> None:
    first, second = dropped(keys(3, 4))
    assert (first != second).float().mean() > 0.2
    assert (first != dropped(keys(3), layers=2)[0]).float().mean() > 0.2


def test_only_layers_that_drop_are_replaced_once() -> None:
    model = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.0), nn.Dropout(0.2)))
    for _ in range(2):
        make_keyed(model)
        assert [type(m) for m in model.modules() if not isinstance(m, nn.Sequential)] == [
            KeyedDropout, nn.Dropout, KeyedDropout,
        ]  # fmt: skip
    assert [m.rate for m in model.modules() if isinstance(m, KeyedDropout)] == [0.1, 0.2]


def test_a_model_without_dropout_is_refused() -> None:
    with pytest.raises(InputError, match=r"ensemble.dropout=true needs a model that was trained with dropout.*=0.1"):
        make_keyed(build(CARD))


def test_a_rollout_draws_it_for_members_alone_or_together() -> None:
    torch.manual_seed(0)
    card = replace(CARD, model=model_config(drop_rate=0.2))
    model = replace(forecaster(), model=build(card).eval(), card=card)
    state = np.random.default_rng(0).normal(size=(1, 2, 8, 16)).astype(np.float32)
    exact = Batching(True, 3, 2)

    def fields(*numbers: int, dropout: bool = True) -> list[np.ndarray]:
        batch, start = Batch(INIT, numbers, numbers, 5), np.repeat(state, len(numbers), 0)
        return [fields for _, fields in rollout(model, start, batch, 2, exact, dropout)]

    whole = fields(0, 1, 2, 3, 4)
    alone = fields(4)
    for step in (0, 1, 2):
        assert np.array_equal(alone[step][0], whole[step][4])
    assert np.ptp(whole[0], axis=0).max() == 0
    assert all(np.ptp(whole[step], axis=0).min() > 0 for step in (1, 2))
    assert np.ptp(fields(0, 1, dropout=False)[2], axis=0).max() == 0
