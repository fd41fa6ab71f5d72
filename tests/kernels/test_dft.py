import math

import pytest
import torch
from mixer_cases import relative
from torch import Tensor

from fourcast.kernels import dft
from fourcast.kernels.modes import KeptModes, Modes

LENGTHS = (1, 2, 3, 4, 15, 16, 31, 90, 121)
GATE = 1e-14


def fold(x: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd part along the first axis, in the convention of the module under test."""
    n = len(x)
    mirror = x[-torch.arange(n) % n]
    alone = 2 * torch.arange(n) % n == 0
    even = torch.where(alone[:, None], x, x + mirror)
    return even[: n // 2 + 1], (x - mirror)[: n // 2 + 1]


def unfold(first: Tensor, mirrored: Tensor, n: int) -> Tensor:
    return torch.stack([first[i] if i <= n // 2 else mirrored[n - i] for i in range(n)])


def test_tables_of_four_points_by_hand():
    # Columns n = 0, 1, 2; rows k = 0, 1, 2; factor 1/sqrt(4).
    cos, sin = dft.zonal_forward(4, 3)
    assert torch.allclose(2 * cos, torch.tensor([[1, 1, 1], [1, 0, -1], [1, -1, 1]]).double(), atol=1e-15)
    assert torch.allclose(2 * sin, torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]]).double(), atol=1e-15)
    cos, _ = dft.zonal_inverse(4, 3)
    assert torch.allclose(2 * cos, torch.tensor([[1, 2, 1], [1, 0, -1], [1, -2, 1]]).double(), atol=1e-15)


@pytest.mark.parametrize("n", LENGTHS)
def test_folded_real_transform_and_its_inverse(n: int):
    x = torch.randn(n, 3, dtype=torch.float64)
    even, odd = fold(x)
    cos, sin = dft.zonal_forward(n, n // 2 + 1)
    spectrum = torch.complex(cos @ even, -(sin @ odd))
    assert relative(torch.view_as_real(spectrum), torch.view_as_real(torch.fft.rfft(x, dim=0, norm="ortho"))) < GATE
    cos, sin = dft.zonal_inverse(n, n // 2 + 1)
    p, q = cos @ spectrum.real, sin @ spectrum.imag
    assert relative(unfold(p - q, p + q, n), x) < GATE


@pytest.mark.parametrize("n", LENGTHS)
def test_folded_complex_transform_and_its_inverse(n: int):
    z = torch.randn(n, 3, dtype=torch.complex128)
    even, odd = fold(z)
    cos, sin = (table.to(z.dtype) for table in dft.meridional_rows(n, tuple(range(n))))
    cos, sin = cos[:, : n // 2 + 1], sin[:, : n // 2 + 1]
    spectrum = cos @ even - 1j * (sin @ odd)
    assert (spectrum - torch.fft.fft(z, dim=0, norm="ortho")).norm() < GATE * z.norm()
    p, q = cos.T @ spectrum, sin.T @ spectrum
    assert (unfold(p + 1j * q, p - 1j * q, n) - z).norm() < GATE * z.norm()


@pytest.mark.parametrize("n", [1, 2, 15, 16])
def test_stacked_zonal_tables_are_inverse_to_each_other(n: int):
    analysis, synthesis = dft.zonal_stacked(n, n // 2 + 1)
    assert relative(synthesis.T @ analysis, torch.eye(n)) < GATE


def test_truncated_zonal_synthesis_does_not_halve_the_last_wavenumber():
    x = torch.cos(2 * math.pi * 3 * torch.arange(8).double() / 8)
    analysis, synthesis = dft.zonal_stacked(8, 4)
    assert relative(synthesis.T @ (analysis @ x), x) < GATE


@pytest.mark.parametrize("height", [2, 15, 16])
def test_stacked_meridional_table_is_orthogonal_on_all_rows(height: int):
    table = dft.meridional_stacked(Modes("full").keep(height, 4))
    assert relative(table @ table.T, torch.eye(2 * height)) < GATE


def test_stacked_meridional_table_selects_the_kept_rows():
    kept = KeptModes(zonal=1, first_row=4, row_count=6, height=12)
    z = torch.randn(12, dtype=torch.complex128)
    found = dft.meridional_stacked(kept) @ torch.view_as_real(z).flatten()
    expected = torch.view_as_real(torch.fft.fft(z, norm="ortho")[4:10]).flatten()
    assert relative(found, expected) < GATE
    assert relative(found.unflatten(0, (-1, 2))[:, 0], expected.unflatten(0, (-1, 2))[:, 1]) > 0.1


def test_a_conjugated_table_exceeds_the_gate():
    x = torch.randn(15, dtype=torch.float64)
    analysis, _ = dft.zonal_stacked(15, 8)
    spectrum = torch.fft.rfft(x, norm="ortho")
    expected = torch.cat([spectrum.real, spectrum.imag])
    conjugated = torch.cat([analysis[:8], -analysis[8:]])
    assert relative(analysis @ x, expected) < GATE
    assert relative(conjugated @ x, expected) > 0.1


def test_index_product_is_reduced_before_the_angle():
    angles = dft.angles(7, torch.tensor([10**6]), torch.tensor([10**6 + 3]))
    assert angles.item() == pytest.approx(2 * math.pi * (10**6 * (10**6 + 3) % 7) / 7, rel=1e-15)


def test_padding_keeps_the_corner_and_zeroes_the_rest():
    assert dft.padded(torch.ones(1, 2), 2, 3).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert (dft.power_of_two(1), dft.power_of_two(46), dft.power_of_two(64)) == (1, 64, 64)
    assert (dft.round_up(46, 32), dft.round_up(64, 32)) == (64, 64)


def test_cost_by_hand():
    # x: 4 * 6 * 2 numbers of 2 bytes; spectrum: 4 * 3 modes * 2 channels, real and imaginary, of 2 bytes.
    work = dft.Workload(batch=1, width=6, kept=Modes("fourcastnet").keep(4, 6), dim=2, block=2)
    assert (work.field, work.spectrum) == (96, 96)
    # Zonal: 4 rows, two products [3, 4] x [4, 2]; latitude: 3 wavenumbers, four products [3, 3] x [3, 2];
    # MLP: 12 modes, two layers of four products [1, 2] x [2, 2].
    assert (work.zonal_flops, work.meridional_flops, work.mlp_flops) == (384, 432, 768)
    assert dft.forward_cost(work) == dft.Cost(flops=2 * 384 + 2 * 432 + 768, bytes=8 * 96)
    assert dft.backward_cost(work) == dft.Cost(flops=2 * 384 + 3 * 432 + 3 * 768, bytes=17 * 96)
    assert dft.Cost(flops=10, bytes=30).seconds(flops_per_second=5, bytes_per_second=10) == 3
