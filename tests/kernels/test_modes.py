import pytest

from fourcast.kernels.modes import Modes


def test_fourcastnet_keeps_46_of_91_zonal_wavenumbers_on_the_quarter_degree_grid():
    kept = Modes("fourcastnet").keep(90, 180)
    assert kept.zonal == 46
    assert kept.rows == tuple(range(90))


def test_fourcastnet_fraction_below_one_keeps_the_highest_meridional_wavenumbers():
    kept = Modes("fourcastnet", hard_thresholding_fraction=0.5).keep(12, 24)
    # T = 7, k = 3: rows 4 ... 9, that is wavenumbers 4, 5, 6, -5, -4, -3, and columns 0, 1, 2.
    assert kept.rows == (4, 5, 6, 7, 8, 9)
    assert kept.zonal == 3


def test_fourcastnet_clips_to_the_grid():
    assert Modes("fourcastnet").keep(15, 31).rows == tuple(range(15))
    assert Modes("fourcastnet").keep(32, 16).zonal == 9


def test_full_keeps_everything():
    kept = Modes("full").keep(90, 180)
    assert (kept.zonal, kept.rows) == (91, tuple(range(90)))


@pytest.mark.parametrize(("height", "rows"), [(12, (9, 10, 11, 0, 1, 2, 3)), (13, (10, 11, 12, 0, 1, 2, 3))])
def test_lowpass_keeps_both_ends_of_the_unshifted_transform(height: int, rows: tuple[int, ...]):
    kept = Modes("lowpass", meridional_fraction=0.5, zonal_fraction=0.4).keep(height, 24)
    assert kept.rows == rows
    assert kept.zonal == 5


def test_lowpass_with_whole_fractions_is_full():
    for height, width in ((12, 24), (15, 31)):
        assert Modes("lowpass").keep(height, width) == Modes("full").keep(height, width)


def test_kept_modes_are_plain_integers():
    assert tuple(Modes().keep(90, 180)) == (46, 0, 90, 90)
    assert all(type(value) is int for value in Modes("lowpass", zonal_fraction=0.3).keep(90, 180))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "low"}, "one of fourcastnet, full, lowpass; found 'low'"),
        ({"hard_thresholding_fraction": 0.0}, "hard_thresholding_fraction must be above 0"),
        ({"policy": "lowpass", "zonal_fraction": 1.5}, "zonal_fraction must be above 0 and at most 1; found 1.5"),
        ({"policy": "full", "hard_thresholding_fraction": 0.5}, "belongs to policy 'fourcastnet'"),
        ({"policy": "fourcastnet", "zonal_fraction": 0.5}, "belongs to policy 'lowpass'"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Modes(**arguments)


def test_a_fraction_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="keeps no mode on a grid of 8 x 16"):
        Modes(hard_thresholding_fraction=0.1).keep(8, 16)
