"""FourCastNet's network: published names and sizes, its formula, its symmetries."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from fourcast.config import ModelConfig
from fourcast.errors import InputError
from fourcast.mixer_config import AFNOConfig, ModesConfig
from fourcast.models.build import build_model, build_network
from fourcast.models.fourcastnet import FourCastNet

BLOCK_NAMES = (
    "norm1.weight", "norm1.bias", "filter.w1", "filter.b1", "filter.w2", "filter.b2", "norm2.weight", "norm2.bias",
    "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip


def small(channels: tuple[int, int] = (2, 2), shape: tuple[int, int] = (8, 16), **changes: object) -> FourCastNet:
    torch.manual_seed(1)
    given: dict[str, object] = {"patch_size": 2, "embed_dim": 8, "depth": 2, "mixer": AFNOConfig(num_blocks=2)}
    return build_network(ModelConfig(**(given | changes)), channels, shape).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "parameters"), [(20, 74_690_304), (26, 75_280_128)])
def test_published_sizes(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        model = build_network(ModelConfig(), (channels, channels), (720, 1440))
    assert sum(p.numel() for p in model.parameters()) == parameters
    # The published count includes the last norm, which is never called.
    assert sum(t.numel() for t in model.state_dict().values()) == parameters + 2 * 768


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        tensors = build_network(ModelConfig(), (20, 20), (720, 1440)).state_dict()
    blocks = {f"blocks.{i}.{name}" for i in range(12) for name in BLOCK_NAMES}
    embedding = {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert set(tensors) == blocks | embedding | {"norm.weight", "norm.bias", "head.weight"}
    assert len(tensors) == 150
    assert tensors["pos_embed"].shape == (1, 90 * 180, 768)
    assert tensors["blocks.11.filter.w1"].shape == (2, 8, 96, 96)
    assert tensors["blocks.0.filter.b2"].shape == (2, 8, 96)
    assert tensors["blocks.0.mlp.fc1.weight"].shape == (3072, 768)
    assert tensors["head.weight"].shape == (20 * 64, 768)


def published_filter(y_BHWD: Tensor, p: dict[str, Tensor], fraction: float) -> Tensor:
    """The published filter, mode by mode: rows T − K … T + K of the unshifted spectrum, columns 0 … K."""
    _, h, w, d = y_BHWD.shape
    total = h // 2 + 1
    kept = int(total * fraction)
    spectrum = torch.fft.fft(torch.fft.rfft(y_BHWD, dim=2, norm="ortho"), dim=1, norm="ortho")
    w1, b1, w2, b2 = (torch.complex(p[name][0], p[name][1]) for name in ("w1", "b1", "w2", "b2"))
    size = w1.shape[-1]
    out = torch.zeros_like(spectrum)
    for row in range(total - kept, min(total + kept, h)):
        for column in range(min(kept, w // 2 + 1)):
            for k in range(d // size):
                channels = slice(k * size, (k + 1) * size)
                hidden = spectrum[:, row, column, channels] @ w1[k] + b1[k]
                hidden = torch.complex(hidden.real.clamp(min=0), hidden.imag.clamp(min=0))
                out[:, row, column, channels] = hidden @ w2[k] + b2[k]
    shrunk = [part.sign() * (part.abs() - 0.01).clamp(min=0) for part in (out.real, out.imag)]
    return torch.fft.irfft(torch.fft.ifft(torch.complex(*shrunk), dim=1, norm="ortho"), w, dim=2, norm="ortho") + y_BHWD


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(8, 16), (10, 12)])
def test_the_whole_network_is_the_published_formula(fraction: float, shape: tuple[int, int]) -> None:
    mixer = AFNOConfig(num_blocks=2, modes=ModesConfig(hard_thresholding_fraction=fraction))
    model = small(shape=(2 * shape[0], 2 * shape[1]), mixer=mixer).double()
    for name, parameter in model.named_parameters():
        if ".filter." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    p = model.state_dict()
    x = torch.randn(2, 2, 2 * shape[0], 2 * shape[1], dtype=torch.float64)
    y = torch.nn.functional.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=2)
    y = y.permute(0, 2, 3, 1) + p["pos_embed"].reshape(1, *shape, 8)
    for i in range(2):
        q = {name.removeprefix(f"blocks.{i}.").removeprefix("filter."): value for name, value in p.items()
             if name.startswith(f"blocks.{i}.")}  # fmt: skip
        y = y + published_filter(layer_norm(y, (8,), q["norm1.weight"], q["norm1.bias"], 1e-6), q, fraction)
        z = layer_norm(y, (8,), q["norm2.weight"], q["norm2.bias"], 1e-6) @ q["mlp.fc1.weight"].T + q["mlp.fc1.bias"]
        z = z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        y = y + z @ q["mlp.fc2.weight"].T + q["mlp.fc2.bias"]
    patches = (y @ p["head.weight"].T).reshape(2, *shape, 2, 2, 2)
    expected = torch.einsum("bhwpqc->bchpwq", patches).reshape(x.shape)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-12)


def test_only_the_filter_carries_information_between_patches() -> None:
    model, x = small(depth=1), torch.zeros(1, 2, 8, 16)
    nudged = x.clone()
    nudged[0, 0, 2:4, 6:8] = 1.0
    assert ((model(nudged) - model(x)) != 0).all()
    for name in ("w1", "b1", "w2", "b2"):
        torch.nn.init.zeros_(getattr(model.blocks[0].filter, name))
    changed = (model(nudged) - model(x)).abs() > 1e-6
    assert changed[..., 2:4, 6:8].all()
    assert changed.sum() == 2 * 2 * 2


def test_every_parameter_learns() -> None:
    model = small()
    model(torch.randn(2, 2, 8, 16)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_acts_in_training_only() -> None:
    model, x = small(drop_rate=0.5, drop_path_rate=0.5), torch.randn(2, 2, 8, 16)
    assert torch.equal(model(x), model(x))
    assert [block.drop_path_rate for block in model.blocks] == [0.0, 0.5]
    model.train()
    assert not torch.equal(model(x), model(x))


def kept_for_backward(model: FourCastNet, x: Tensor) -> int:
    """Bytes that the forward pass keeps; gradients are left in the model."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(2)
    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x).square().mean()
    loss.backward()
    return kept


def test_blocks_may_be_computed_again_instead_of_kept() -> None:
    model, x = small(drop_rate=0.5, drop_path_rate=0.5, mlp_ratio=4.0).train(), torch.randn(2, 2, 8, 16)
    plain = kept_for_backward(model, x)
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.blocks[0].recompute = True
    half = kept_for_backward(model, x)
    model.blocks[1].recompute = True
    least = kept_for_backward(model, x)
    assert least < half < plain
    assert 2 * least < plain
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), expected, strict=True))


def test_bf16_autocast_stays_near_fp32() -> None:
    model, x = small(), torch.randn(2, 2, 8, 16)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x).float()
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.03


def test_hidden_width_is_recovered_from_its_ratio() -> None:
    """int(d · (h / d)) falls one short of h for some sizes; the nearest integer never does."""
    assert int(56 * (61 / 56)) == 60
    model = small(embed_dim=56, mlp_ratio=61 / 56)
    assert model.blocks[0].mlp.fc1.weight.shape == (61, 56)


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(InputError, match=r"model.patch_size=3 does not divide the 8×16 grid"):
        small(patch_size=3)
    with pytest.raises(InputError, match=r"model.mixer.modes.hard_thresholding_fraction=0.1 keeps no mode"):
        small(mixer=AFNOConfig(num_blocks=2, modes=ModesConfig(hard_thresholding_fraction=0.1)))
    with pytest.raises(InputError, match=r"model.mixer.modes.zonal_fraction belongs to policy 'lowpass'"):
        small(mixer=AFNOConfig(num_blocks=2, modes=ModesConfig(zonal_fraction=0.5)))


def test_a_residual_target_is_added_to_the_state() -> None:
    config = ModelConfig(patch_size=2, embed_dim=8, depth=1, mixer=AFNOConfig(num_blocks=2), target="residual")
    model = build_model(config, (2, 2), (8, 16), torch.tensor([0.5, 0.0])).eval()
    x = torch.randn(1, 2, 8, 16)
    y = model(x)
    assert torch.equal(y[:, 1], x[:, 1])
    torch.testing.assert_close(y[:, 0], x[:, 0] + 0.5 * model.network(x)[:, 0])
