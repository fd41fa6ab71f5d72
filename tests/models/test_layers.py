"""Parts of models against hand-made values."""

import math

import pytest
import torch
from tiny import model_config

from fourcast.models.build import build_model
from fourcast.models.layers import MLP, PatchEmbed, Residual, drop_path, unpatchify


def test_unpatchify_places_channels_fastest() -> None:
    # One token of 2×2 pixels and 2 channels: values in the order (row, column, channel).
    fields = unpatchify(torch.arange(8.0).reshape(1, 1, 1, 8), patch_size=2)
    assert fields.tolist() == [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]]


def test_unpatchify_lays_tokens_side_by_side() -> None:
    tokens = torch.arange(6.0).reshape(1, 2, 3, 1).expand(1, 2, 3, 4)
    fields = unpatchify(tokens, patch_size=2)
    expected = torch.tensor([[0.0, 1, 2], [3, 4, 5]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(fields[0, 0], expected)


def test_a_patch_sees_its_own_pixels_only() -> None:
    embed = PatchEmbed(patch_size=2, in_channels=1, embed_dim=3)
    x = torch.zeros(1, 1, 4, 6)
    x[0, 0, 2, 5] = 1.0  # row 2, column 5: token (1, 2)
    tokens = embed(x) - embed.proj.bias
    assert tokens.shape == (1, 2, 3, 3)
    assert torch.equal(tokens[0, 1, 2], embed.proj.weight[:, 0, 0, 1])
    assert tokens.abs().sum() == tokens[0, 1, 2].abs().sum()


def test_mlp_uses_the_exact_gelu() -> None:
    mlp = MLP(1, 1, drop_rate=0.0)
    for parameter, value in zip(mlp.parameters(), (1.0, 0.0, 2.0, 1.0), strict=True):
        torch.nn.init.constant_(parameter, value)
    gelu = 0.5 * 1.5 * (1 + math.erf(1.5 / math.sqrt(2)))
    assert mlp(torch.tensor([1.5])).item() == pytest.approx(2 * gelu + 1, rel=1e-6)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    dropped = drop_path(x, 0.25, training=True)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand(-1, 6))
    assert set(per_sample[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    # Standard error of the mean of 4000 draws is sqrt(0.25 / 0.75 / 4000) = 0.009.
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.04)
    assert drop_path(x, 0.25, training=False) is x
    assert drop_path(x, 0.0, training=True) is x


def test_residual_adds_the_scaled_change() -> None:
    residual = Residual(torch.nn.Identity(), torch.tensor([0.0, 2.0]))
    x = torch.full((1, 2, 1, 1), 3.0)
    assert residual(x).flatten().tolist() == [3.0, 9.0]
    assert residual.state_dict()["scale"].shape == (2, 1, 1)


def test_residual_leaves_noise_to_the_network() -> None:
    class Noise(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 3
            return x[:, 2:]

    residual = Residual(Noise(), torch.tensor([1.0, 2.0]))
    x = torch.tensor([3.0, 3.0, 5.0]).reshape(1, 3, 1, 1)
    assert residual(x).flatten().tolist() == [8.0, 13.0]


@pytest.mark.parametrize("target", ["direct", "residual"])
def test_a_network_with_noise_sees_it_behind_the_state(target: str) -> None:
    torch.manual_seed(0)
    model = build_model(model_config(target=target, noise_channels=2), (3, 3), (8, 16), torch.ones(3)).eval()
    state, noise = torch.randn(1, 3, 8, 16), torch.randn(2, 2, 8, 16)
    both = torch.cat([state.expand(2, -1, -1, -1), noise], dim=1)
    first, second = model(both)
    assert first.shape == (3, 8, 16)
    assert not torch.allclose(first, second, atol=1e-4)
    both[1, 3:] = both[0, 3:]
    torch.testing.assert_close(*model(both))
