"""How many members run together where nobody says; sizes counted by hand."""

from dataclasses import replace

import pytest
import torch
from test_batching import forecaster
from tiny import model_config

from fourcast.checkpoint import build
from fourcast.forecast import memory
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.memory import call_bytes, home_of_states, members_at_once, state_bytes

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


def of_grid(h: int, w: int, patch_size: int = 4) -> Forecaster:
    """Of two channels; patches of 4 × 4 in a width of 16."""
    return forecaster(patch_size=patch_size, shape=(h, w))


def give(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    """Let so many bytes be free beside the 1000 that this process holds."""
    monkeypatch.setattr(memory, "free_bytes", lambda _: free + 1000)
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1000)


def test_sizes_of_a_member() -> None:
    """2 channels of 256 × 512 in float32 are 1 MB; of its 8192 tokens a layer has 16 values, the MLP within 64."""
    model = of_grid(256, 512)
    assert state_bytes(model) == MEGABYTE
    assert call_bytes(model) == 4 * 8192 * (16 * 6 + 64 * 2) + 2 * MEGABYTE
    rainy = replace(model, precipitation=torch.nn.Identity())
    assert state_bytes(rainy) == 1.5 * MEGABYTE


def test_as_many_as_keep_the_cores_busy() -> None:
    """Exact: a call for each of 3 cores, of one member with 1024 tokens or more, of 8 below 256; fast: 8 each."""
    assert members_at_once(of_grid(256, 512), 1000) == 3
    assert members_at_once(of_grid(8, 16), 1000) == 24
    assert members_at_once(of_grid(256, 512), 2) == 2
    assert members_at_once(of_grid(8, 16), 1000, exact=False) == 8 * 3


def test_no_more_than_free_memory_holds_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact: 3 calls of one member, then 4 MB and a file a member; fast: a call's part besides."""
    model = of_grid(256, 512)
    in_call = call_bytes(model)
    give(monkeypatch, (3 * in_call + 2.5 * 6 * MEGABYTE) / 0.8)
    assert members_at_once(model, 1000) == 2
    give(monkeypatch, 2 * (3 * in_call + 2.5 * 6 * MEGABYTE) / 0.8)
    assert members_at_once(model, 1000, processes=2) == 2
    give(monkeypatch, 7.5 * (in_call + 6 * MEGABYTE) / 0.8)
    assert members_at_once(model, 1000, exact=False) == 7
    give(monkeypatch, MEGABYTE)
    assert members_at_once(model, 1000) == 1
    give(monkeypatch, float("inf"))
    assert members_at_once(model, 1000) == 3


def test_states_stay_on_the_cpu() -> None:
    assert home_of_states(of_grid(8, 16), 10**9) == torch.device("cpu")


@pytest.mark.gpu
def test_a_gpu_takes_whole_calls_that_fit() -> None:
    model = forecaster("cuda")
    model = replace(model, model=build(replace(model.card, model=model_config())).cuda().eval())
    assert members_at_once(model, 1000) == 1000
    free = torch.cuda.mem_get_info()[0]
    fitting = members_at_once(model, 10**9)
    assert fitting % 8 == 0
    assert 0.5 * free < fitting * 4 * state_bytes(model) < 0.8 * free
    assert home_of_states(model, 1).type == "cuda"
    assert home_of_states(model, 10**9).type == "cpu"
