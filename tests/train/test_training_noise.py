"""The noise of training: the same for any division of a batch."""

import pytest
import torch

from fourcast.train.noise import training_noise

CPU = torch.device("cpu")


def drawn(positions: range, key: tuple[int, int, int] = (0, 5, 1), members: int = 3) -> torch.Tensor:
    return training_noise(key, positions, members, (2, 4, 6), CPU)


def test_members_of_a_sample_are_adjacent_and_each_has_its_own() -> None:
    noise = drawn(range(4))
    assert noise.shape == (4 * 3, 2, 4, 6)
    assert noise.dtype == torch.float32
    assert len({tuple(field.flatten().tolist()) for field in noise}) == 12
    assert torch.equal(drawn(range(4), members=1), noise[::3])


@pytest.mark.parametrize("parts", [[range(4), range(4, 8)], [range(1), range(1, 3), range(3, 8)]])
def test_noise_is_the_same_however_a_batch_is_split(parts: list[range]) -> None:
    assert torch.equal(torch.cat([drawn(part) for part in parts]), drawn(range(8)))


@pytest.mark.parametrize("key", [(1, 5, 1), (0, 6, 1), (0, 5, 2), (5, 0, 1)])
def test_every_seed_and_step_has_its_own(key: tuple[int, int, int]) -> None:
    assert not torch.isin(drawn(range(8), key), drawn(range(8))).any()
