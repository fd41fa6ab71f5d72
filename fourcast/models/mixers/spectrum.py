"""What mixers do to a spectrum z_BFRPD: F zonal wavenumbers, R rows of meridional ones, P real and imaginary part."""

import torch
from torch import Tensor

from fourcast.errors import InputError
from fourcast.kernels.dense import stacked_bias, stacked_weight
from fourcast.kernels.modes import KeptModes, Modes
from fourcast.kernels.transforms import irdft2
from fourcast.mixer_config import ModesConfig


def kept_modes(config: ModesConfig, tokens_shape: tuple[int, int]) -> tuple[Modes, KeptModes]:
    """The kernels' rule of a configuration and what it keeps of the tokens.

    InputError where the rule contradicts itself or keeps no mode.
    """
    try:
        modes = Modes(**vars(config))
        return modes, modes.keep(*tokens_shape)
    except ValueError as error:
        raise InputError(f"model.mixer.{error}") from error


def tokens_like(y_BHWD: Tensor, z_BFRPD: Tensor, modes: Modes) -> Tensor:
    """The inverse transform of a spectrum, on y's grid and in its type."""
    return irdft2(z_BFRPD, modes, (int(y_BHWD.shape[1]), int(y_BHWD.shape[2])), dtype=y_BHWD.dtype)


def block_mlp(z_BFRPD: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Two complex linear layers on each of K channel groups, one for all modes; ReLU on either part apart.

    w1, w2: [2, K, D/K, D/K]; b1, b2: [2, K, D/K]; real part first. A complex layer is one product of twice the size
    with [[re, im], [-im, re]], so that no complex type is needed.
    """
    B, F, R, P, _ = z_BFRPD.shape
    K = w1.shape[1]
    z_KNC = z_BFRPD.unflatten(-1, (K, -1)).permute(4, 0, 1, 2, 3, 5).reshape(K, B * F * R, -1)
    w1, b1, w2, b2 = (t.to(z_KNC.dtype) for t in (w1, b1, w2, b2))
    h_KNC = torch.baddbmm(stacked_bias(b1), z_KNC, stacked_weight(w1)).relu()
    o_KNC = torch.baddbmm(stacked_bias(b2), h_KNC, stacked_weight(w2))
    return o_KNC.reshape(K, B, F, R, P, -1).permute(1, 2, 3, 4, 0, 5).flatten(-2)


def complex_product(a_PD: Tensor, b_PD: Tensor) -> Tensor:
    """a · b with real and imaginary part on the last axis but one: […, 2, D]."""
    (a_re, a_im), (b_re, b_im) = a_PD.unbind(-2), b_PD.unbind(-2)
    return torch.stack([a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re], -2)
