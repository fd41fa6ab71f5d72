"""AFNO's spectral token mixing in plain torch with torch.fft: the ground truth for every faster path.

Formulas: Guibas et al., Adaptive Fourier Neural Operators (arXiv 2111.13587), section 4, and Pathak et al.,
FourCastNet (arXiv 2202.11214), appendix A.
"""

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, softshrink

from fourcast.kernels.modes import KeptModes, Modes


def spectral_mixing(
    x_BHWD: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *,
    modes: Modes,
    eps: float = 1e-6,
    sparsity_threshold: float = 0.01,
) -> Tensor:
    """``irfft2(softshrink(MLP(rfft2(y)))) + y + x`` with ``y = LayerNorm(x)``, in x's type.

    Shapes: x [B, H, W, D]; norm_weight, norm_bias [D]; w1, w2 [2, K, D/K, D/K]; b1, b2 [2, K, D/K]; index 0
    of the weights is the real part, 1 the imaginary part. Types below float32 are computed in float32.
    """
    work = torch.promote_types(x_BHWD.dtype, torch.float32)
    x = x_BHWD.to(work)
    norm_weight, norm_bias, w1, b1, w2, b2 = (t.to(work) for t in (norm_weight, norm_bias, w1, b1, w2, b2))
    H, W, D = x.shape[1:]
    kept = modes.keep(H, W)
    y = layer_norm(x, (D,), norm_weight, norm_bias, eps)
    z_BRFD = select_modes(forward_transform(y), kept)
    o_BRFD = block_mlp(z_BRFD, w1, b1, w2, b2)
    s_BRFD = torch.complex(softshrink(o_BRFD.real, sparsity_threshold), softshrink(o_BRFD.imag, sparsity_threshold))
    mixed = inverse_transform(place_modes(s_BRFD, kept, W), W)
    return (mixed + y + x).to(x_BHWD.dtype)


def forward_transform(x_BHWD: Tensor) -> Tensor:
    """The half spectrum [B, H, W//2 + 1, D], one axis at a time.

    MKL, which torch calls on a CPU, corrupts the heap in some transforms over two axes at once: complex128 of
    6 × 150 points and 32 channels with torch 2.13.
    """
    return torch.fft.fft(torch.fft.rfft(x_BHWD, dim=2, norm="ortho"), dim=1, norm="ortho")


def select_modes(spectrum_BHFD: Tensor, kept: KeptModes) -> Tensor:
    """The kept rows (in the order of ``kept.rows``) and zonal wavenumbers of a half spectrum."""
    rows = torch.tensor(kept.rows, device=spectrum_BHFD.device)
    return spectrum_BHFD[:, :, : kept.zonal].index_select(1, rows)


def place_modes(kept_BRFD: Tensor, kept: KeptModes, width: int) -> Tensor:
    """The half spectrum [B, H, W//2 + 1, D] that holds the kept modes and zero elsewhere."""
    B, _, _, D = kept_BRFD.shape
    rows = torch.tensor(kept.rows, device=kept_BRFD.device)
    spectrum = kept_BRFD.new_zeros(B, kept.height, width // 2 + 1, D)
    spectrum[:, rows, : kept.zonal] = kept_BRFD
    return spectrum


def block_mlp(z: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Two complex linear layers on each of K channel blocks; ReLU acts on real and imaginary parts apart."""
    blocks = z.unflatten(-1, w1.shape[1:3])
    h = block_linear(blocks, w1, b1)
    h = torch.complex(h.real.relu(), h.imag.relu())
    return block_linear(h, w2, b2).flatten(-2)


def block_linear(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("...ki,kio->...ko", z, torch.complex(weight[0], weight[1])) + torch.complex(bias[0], bias[1])


def inverse_transform(spectrum_BHFD: Tensor, width: int) -> Tensor:
    """Inverse along latitude, then complex to real along longitude.

    The block MLP breaks the Hermitian symmetry that irfft2 presumes, and FFT libraries differ on such input.
    Here the imaginary parts of the zonal mean and of the zonal Nyquist mode are dropped after the latitude
    transform, for every library alike.
    """
    s = torch.fft.ifft(spectrum_BHFD, dim=1, norm="ortho")
    real_only = torch.zeros(width // 2 + 1, 1, dtype=torch.bool, device=s.device)
    real_only[0] = True
    if width % 2 == 0:
        real_only[-1] = True
    s = torch.complex(s.real, s.imag.masked_fill(real_only, 0.0))
    return torch.fft.irfft(s, n=width, dim=2, norm="ortho")
