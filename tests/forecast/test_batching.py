"""How members share calls of the model: expected by hand, for odd lists of members, too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CARD, CHANNELS
from torch import nn

from fourcast.forecast.batching import Batch, Batching, Call, choose_batching, divided, exact_size
from fourcast.forecast.forecaster import Forecaster

INIT = np.datetime64("2026-08-10T18", "h")
FOURS = Batching(exact=True, size=4, threads=2)


def forecaster(device: str = "cpu", patch_size: int = 1, shape: tuple[int, int] = (8, 16)) -> Forecaster:
    one = np.ones((2, 1, 1), np.float32)
    latitude, longitude = np.linspace(90, -90, shape[0]), np.linspace(0, 360, shape[1], endpoint=False)
    model = replace(CARD.model, patch_size=patch_size)
    card = replace(CARD, model=model, latitude=latitude.tolist(), longitude=longitude.tolist())
    return Forecaster(nn.Identity(), card, CHANNELS, one, one, torch.device(device))


def test_a_full_call_has_every_member_in_its_slot() -> None:
    assert divided((4, 5, 6, 7), FOURS) == (Call((0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3)),)


def test_a_member_alone_stands_where_it_stands_among_all() -> None:
    """37 = 9 · 4 + 1: slot 1, and copies of it elsewhere."""
    assert divided((37,), FOURS) == (Call((0,), (1,), (0, 0, 0, 0)),)


def test_members_with_gaps_and_out_of_order_find_their_calls() -> None:
    """0 and 3 share call 0, 9 is in slot 1 of call 2; call 1 has nobody and is not made."""
    assert divided((0, 3, 9), FOURS) == (Call((0, 1), (0, 3), (0, 0, 0, 1)), Call((2,), (1,), (0, 0, 0, 0)))
    assert divided((9, 3, 0), FOURS) == (Call((1, 2), (3, 0), (1, 0, 0, 0)), Call((0,), (1,), (0, 0, 0, 0)))


def test_in_fast_mode_all_share_one_call_in_their_order() -> None:
    assert divided((9, 3, 0), Batching(False, 16, 1)) == (Call((0, 1, 2), (0, 1, 2), (0, 1, 2)),)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_slot_and_its_call_follow_from_the_place_alone(size: int) -> None:
    chosen = np.random.default_rng(size).permutation(40)[:17]
    places = tuple(int(place) for place in chosen)
    calls = divided(places, Batching(True, size, 1))
    assert sorted(row for call in calls for row in call.rows) == list(range(17))
    for call in calls:
        assert len({places[row] // size for row in call.rows}) == 1
        assert call.slots == tuple(places[row] % size for row in call.rows)
        assert len(call.sources) == size
        assert all(call.rows[call.sources[slot]] == row for row, slot in zip(call.rows, call.slots, strict=True))


@pytest.mark.parametrize(
    ("device", "tokens", "size"),
    [("cpu", 1, 8), ("cpu", 255, 8), ("cpu", 256, 4), ("cpu", 512, 2), ("cpu", 1024, 1), ("cpu", 16200, 1),
     ("meta", 128, 8), ("meta", 2048, 4), ("meta", 8191, 2), ("meta", 16200, 1)],
)  # fmt: skip
def test_calls_are_small_where_members_are_large(device: str, tokens: int, size: int) -> None:
    assert exact_size(forecaster(device, shape=(1, tokens))) == size
    assert exact_size(forecaster(device, patch_size=2, shape=(2, 2 * tokens))) == size


def test_exact_unless_cores_would_wait_or_it_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert choose_batching(forecaster(), None, 24) == Batching(True, 8, 3)
    assert choose_batching(forecaster(), None, 23) == Batching(False, 23, 1)
    assert choose_batching(forecaster(), True, 1) == Batching(True, 8, 3)
    assert choose_batching(forecaster(), False, 24) == Batching(False, 24, 1)
    assert choose_batching(forecaster("meta"), None, 1) == Batching(True, 8, 1)
    assert choose_batching(forecaster("meta"), False, 5) == Batching(False, 5, 1)


def test_the_initial_time_is_a_key_before_1970_too() -> None:
    assert Batch(INIT, (0,), (0,), 0).hours == 496_218  # 20675 days and 18 hours
    assert Batch(np.datetime64("1969-12-31T23"), (0,), (0,), 0).hours == 2**64 - 1


def test_two_members_in_one_place_are_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Batch(INIT, (1, 2), (0, 0), 0)
