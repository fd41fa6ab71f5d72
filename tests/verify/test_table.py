"""Numbers as people read them."""

import numpy as np
import pytest
import xarray as xr

from fourcast.verify.table import _number, headline_channels, headline_leads


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (612.34, "612.3"), (2.31, "2.310"), (1061.7, "1062"), (54321.6, "54322"), (0.99999997, "1.000"),
        (9999.96, "10000"), (-0.01234567, "-0.01235"), (0.00001234567, "1.235e-05"), (0.0, "0"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float, text: str) -> None:
    assert _number(value) == text


def test_headlines_are_the_customary_channels_and_lead_times() -> None:
    names = ["q850", "v10m", "t850", "u10m", "t2m", "z500", "r500", "msl"]
    leads = np.array([0, 6, 12, 24, 48], dtype="timedelta64[h]").astype("timedelta64[ns]")
    scores = xr.Dataset(coords={"channel": names, "lead_time": leads})
    assert headline_channels(scores) == ["z500", "t850", "u10m", "t2m", "msl", "q850"]
    assert headline_leads(scores) == [1, 2, 3, 4]
    assert headline_leads(scores.isel(lead_time=[0])) == [0]
