"""Every mixer written from its formula with torch.fft and plain loops, for float64; p holds its state."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, softshrink

from fourcast.kernels.modes import KeptModes, Modes
from fourcast.kernels.reference import block_mlp, forward_transform, inverse_transform, place_modes, select_modes
from fourcast.mixer_config import (
    AFFConfig,
    AFNOConfig,
    FFCConfig,
    FNOConfig,
    GFNetConfig,
    LongConvConfig,
    MixerConfig,
    ModesConfig,
    NoneConfig,
    ParCConfig,
)

State = dict[str, Tensor]


def twin(config: MixerConfig, p: State, y_BHWD: Tensor) -> Tensor:
    """What the mixer of ``config`` with state ``p`` makes of tokens, outside training."""
    return TWINS[type(config)](config, p, y_BHWD)


def spectrum(y_BHWD: Tensor, config: ModesConfig) -> tuple[Tensor, KeptModes]:
    """The kept modes as complex numbers [B, R, F, D]."""
    kept = Modes(**vars(config)).keep(*y_BHWD.shape[1:3])
    return select_modes(forward_transform(y_BHWD), kept), kept


def field(z_BRFD: Tensor, kept: KeptModes, width: int) -> Tensor:
    return inverse_transform(place_modes(z_BRFD, kept, width), width)


def mlp(config: AFNOConfig | AFFConfig, p: State, z_BRFD: Tensor) -> Tensor:
    o = block_mlp(z_BRFD, p["w1"], p["b1"], p["w2"], p["b2"])
    return torch.complex(*(softshrink(part, config.sparsity_threshold) for part in (o.real, o.imag)))


def afno(config: AFNOConfig, p: State, y: Tensor) -> Tensor:
    z, kept = spectrum(y, config.modes)
    return y + field(mlp(config, p, z), kept, y.shape[2])


def aff(config: AFFConfig, p: State, y: Tensor) -> Tensor:
    z, kept = spectrum(y, config.modes)
    return y + field(mlp(config, p, z) * z, kept, y.shape[2])


def fno(config: FNOConfig, p: State, y: Tensor) -> Tensor:
    z, kept = spectrum(y, config.modes)
    weight = torch.complex(p["weight"][0], p["weight"][1])
    out, size = torch.zeros_like(z), y.shape[-1] // config.num_blocks
    for r in range(kept.row_count):
        for f in range(kept.zonal):
            for k in range(config.num_blocks):
                channels = slice(k * size, (k + 1) * size)
                out[:, r, f, channels] = z[:, r, f, channels] @ weight[f, r, k]
    return field(out, kept, y.shape[2]) + y @ p["skip.weight"].T + p["skip.bias"]


def gfnet(config: GFNetConfig, p: State, y: Tensor) -> Tensor:
    z, kept = spectrum(y, config.modes)
    weight_FRD = torch.complex(p["weight"][:, :, 0], p["weight"][:, :, 1])
    return field(z * weight_FRD.transpose(0, 1), kept, y.shape[2])


def batch_norm(x: Tensor, p: State, name: str) -> Tensor:
    mean, var = p[f"{name}.norm.running_mean"], p[f"{name}.norm.running_var"]
    return ((x - mean) / (var + 1e-5).sqrt() * p[f"{name}.norm.weight"] + p[f"{name}.norm.bias"]).clamp(min=0)


def fourier_unit(x_BHWC: Tensor, p: State, name: str) -> Tensor:
    z, kept = spectrum(x_BHWC, ModesConfig("full"))
    s = batch_norm(torch.cat([z.real, z.imag], -1) @ p[f"{name}.linear.weight"].T, p, f"{name}.norm_relu")
    return field(torch.complex(*s.chunk(2, -1)), kept, x_BHWC.shape[2])


def convolution(x_BHWC: Tensor, weight: Tensor) -> Tensor:
    """3×3, with the neighbours written out: the other side of the date line, the same row at the poles."""
    around = torch.cat([x_BHWC[:, :, -1:], x_BHWC, x_BHWC[:, :, :1]], 2)
    globe = torch.cat([around[:, :1], around, around[:, -1:]], 1)
    return conv2d(globe.permute(0, 3, 1, 2), weight).permute(0, 2, 3, 1)


def ffc(config: FFCConfig, p: State, y: Tensor) -> Tensor:
    distant = round(config.global_ratio * y.shape[-1])
    near = y.shape[-1] - distant
    x_l, x_g = y[..., :near], y[..., near:]
    to_local = p["local_to_all.weight"][:near], p["global_to_local.weight"]
    y_l = convolution(x_l, to_local[0]) + convolution(x_g, to_local[1])
    h = batch_norm(x_g @ p["global_to_global.enter.0.weight"].T, p, "global_to_global.enter.1")
    total = h + fourier_unit(h, p, "global_to_global.fourier")
    if config.local_fourier_unit:
        rows, columns, c = h.shape[1] // 2, h.shape[2] // 2, h.shape[3] // 4
        halves = [(slice(0, n), slice(n, 2 * n)) for n in (rows, columns)]
        places = [(row, column) for row in halves[0] for column in halves[1]]
        small = torch.cat([h[:, row, column, :c] for row, column in places], -1)
        mixed = fourier_unit(small, p, "global_to_global.local_fourier")
        for row, column in places:
            total[:, row, column] += mixed
    y_g = convolution(x_l, p["local_to_all.weight"][near:]) + total @ p["global_to_global.leave.weight"].T
    return torch.cat([y_l, y_g], -1)


def stretched(t_CM: Tensor, length: int) -> Tensor:
    """Linear interpolation between the places 0 … M − 1 spread evenly over 0 … length − 1."""
    columns = []
    for i in range(length):
        place = i * (t_CM.shape[1] - 1) / (length - 1)
        below = min(int(place), t_CM.shape[1] - 2) if t_CM.shape[1] > 1 else 0
        above = min(below + 1, t_CM.shape[1] - 1)
        columns.append(t_CM[:, below] * (1 - (place - below)) + t_CM[:, above] * (place - below))
    return torch.stack(columns, -1)


def correlated(x_NLC: Tensor, p: State, name: str) -> Tensor:
    length = x_NLC.shape[1]
    kernel, embedding = (stretched(p[f"{name}.{part}"], length) for part in ("meta_kernel", "pos_embed"))
    u = x_NLC + embedding.T
    rows = [sum(kernel[:, i] * u[:, (n + i) % length] for i in range(length)) for n in range(length)]
    return torch.stack(rows, 1) + p[f"{name}.bias"]


def parc(config: ParCConfig, p: State, y: Tensor) -> Tensor:
    half = y.shape[-1] // 2
    by_column = [correlated(y[:, :, w, :half], p, "height") for w in range(y.shape[2])]
    by_row = [correlated(y[:, h, :, half:], p, "width") for h in range(y.shape[1])]
    return torch.cat([torch.stack(by_column, 2), torch.stack(by_row, 1)], -1)


def long_conv(config: LongConvConfig, p: State, y: Tensor) -> Tensor:
    u, k = y.flatten(1, 2), p["kernel"]
    length = u.shape[1]
    if config.smooth_width:
        side = config.smooth_width // 2
        places = [range(n - side, n + side + 1) for n in range(length)]
        total = [sum(k[:, i % length] for i in near if not config.causal or 0 <= i < length) for near in places]
        k = torch.stack(total, -1) / config.smooth_width
    k = k.sign() * (k.abs() - config.squash).clamp(min=0)
    lags = [[n - j for j in range(length)] for n in range(length)]
    mixed = [sum(k[:, j] * u[:, m] for j, m in enumerate(row) if m >= 0 or not config.causal) for row in lags]
    return torch.stack(mixed, 1).view(y.shape) + p["skip"] * y


TWINS: dict[type[MixerConfig], Callable[..., Tensor]] = {
    AFNOConfig: afno,
    FNOConfig: fno,
    GFNetConfig: gfnet,
    AFFConfig: aff,
    FFCConfig: ffc,
    ParCConfig: parc,
    LongConvConfig: long_conv,
    NoneConfig: lambda config, p, y: y,
}
