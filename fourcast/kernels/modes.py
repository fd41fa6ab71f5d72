"""Which Fourier modes a spectral mixer works on; every other mode contributes zero and costs nothing."""

from dataclasses import dataclass
from typing import NamedTuple

POLICIES = ("fourcastnet", "full", "lowpass")


class KeptModes(NamedTuple):
    """A mode set on one grid: ``zonal`` wavenumbers from 0 up, and a cyclic band of meridional rows.

    Rows are indices of the unshifted FFT over ``height`` latitudes (row r holds wavenumber r, or r - height
    above Nyquist): ``first_row``, ``first_row + 1``, ... modulo ``height``, ``row_count`` of them. All four
    fields are plain integers, so that the set fits the schema of a custom op.
    """

    zonal: int
    first_row: int
    row_count: int
    height: int

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple((self.first_row + i) % self.height for i in range(self.row_count))

    @property
    def all_rows(self) -> bool:
        return self.row_count == self.height


@dataclass(frozen=True)
class Modes:
    """A rule that keeps modes on any grid.

    ``fourcastnet``: the published rule, needed by published weights. With T = H//2 + 1 and
        k = int(T * hard_thresholding_fraction) it keeps rows T-k ... T+k-1 (clipped to H) of the *unshifted* FFT
        and zonal wavenumbers 0 ... k-1. So even fraction 1 keeps only 46 of 91 zonal wavenumbers on 90 x 180
        tokens, and a smaller fraction keeps the highest meridional wavenumbers and drops the lowest.
    ``full``: every mode.
    ``lowpass``: |ky| <= int(meridional_fraction * (H//2)) and kx <= int(zonal_fraction * (W//2)).
    """

    policy: str = "fourcastnet"
    hard_thresholding_fraction: float = 1.0
    meridional_fraction: float = 1.0
    zonal_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"modes.policy must be one of {', '.join(POLICIES)}; found {self.policy!r}")
        for name, policy in (
            ("hard_thresholding_fraction", "fourcastnet"),
            ("meridional_fraction", "lowpass"),
            ("zonal_fraction", "lowpass"),
        ):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise ValueError(f"modes.{name} must be above 0 and at most 1; found {value}")
            if value != 1.0 and self.policy != policy:
                raise ValueError(
                    f"modes.{name} belongs to policy {policy!r}; found {value} with policy {self.policy!r}: "
                    f"leave it at 1 or change the policy"
                )

    def keep(self, height: int, width: int) -> KeptModes:
        """The modes kept on a grid of ``height`` x ``width`` tokens; ValueError where none are left."""
        zonal_total = width // 2 + 1
        if self.policy == "full":
            return KeptModes(zonal_total, 0, height, height)
        if self.policy == "lowpass":
            limit = int(self.meridional_fraction * (height // 2))
            row_count = min(2 * limit + 1, height)
            first_row = 0 if row_count == height else height - limit
            return KeptModes(int(self.zonal_fraction * (width // 2)) + 1, first_row, row_count, height)
        total = height // 2 + 1
        kept = int(total * self.hard_thresholding_fraction)
        if kept == 0:
            raise ValueError(
                f"modes.hard_thresholding_fraction={self.hard_thresholding_fraction} keeps no mode on a grid of "
                f"{height} x {width} tokens; raise it to at least 1/{total}"
            )
        first_row = total - kept
        return KeptModes(min(kept, zonal_total), first_row, min(2 * kept, height - first_row), height)
