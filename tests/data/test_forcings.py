"""The sun and the calendar: published positions, risings and settings first, then quadrature, then ERA5's formulas."""

import numpy as np
import pytest

from fourcast.data.forcings import (
    SOLAR_CONSTANT,
    cos_zenith,
    incoming_solar,
    mean_cos_zenith,
    static_features,
    sun,
    time_of_day,
    time_of_year,
)
from fourcast.data.regrid import preset
from fourcast.grid import area_weights

ARC_MINUTE = 1 / 60
HORIZON = np.sin(np.deg2rad(-0.8333))
"""Sine of the sun's altitude when its upper limb rises or sets, refraction included."""


def utc(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


def degrees(radians: np.ndarray) -> np.ndarray:
    return np.asarray(np.rad2deg(radians))


def minutes(radians: np.ndarray) -> np.ndarray:
    """Radians of hour angle in minutes of time."""
    return np.asarray(np.rad2deg(radians) * 4)


# U.S. Naval Observatory, "Earth's Seasons" for 2023, in UT.
SOLSTICES = {"2023-06-21T14:58": 1, "2023-12-22T03:27": -1}
EQUINOXES = {"2023-03-20T21:24": 1, "2023-09-23T06:50": -1}
PERIHELION, APHELION = "2023-01-04T16:17", "2023-07-06T20:06"


def test_declination_at_the_solstices_is_the_obliquity() -> None:
    """23°26.3' in 2023 (mean obliquity 23°26'21" in 2000, less 0.47" a year), at an extreme there."""
    for text, sign in SOLSTICES.items():
        days = np.datetime64(text) + np.arange(-5, 6) * np.timedelta64(1, "D")
        declination = degrees(sun(days).declination) * sign
        assert declination[5] == pytest.approx(23.4363, abs=ARC_MINUTE)
        assert np.argmax(declination) == 5


def test_the_sun_crosses_the_equator_at_the_equinoxes() -> None:
    for text, sign in EQUINOXES.items():
        hours = np.datetime64(text) + np.arange(-1, 2) * np.timedelta64(3, "h")
        declination = degrees(sun(hours).declination) * sign
        assert declination[1] == pytest.approx(0, abs=ARC_MINUTE)
        assert declination[0] < -ARC_MINUTE < ARC_MINUTE < declination[2]


def test_position_worked_out_by_others() -> None:
    """Reda & Andreas (2004), NREL/TP-560-34302, table A5.1; Meeus, "Astronomical Algorithms", examples 25.a, 28.a."""
    found = sun(utc("2003-10-17T19:30:30", "1992-10-13T00:00:00"))
    np.testing.assert_allclose(degrees(found.declination), [-9.31434, -7.78507], rtol=0, atol=ARC_MINUTE)
    np.testing.assert_allclose(minutes(found.equation_of_time), [14.6415, 13.7094], rtol=0, atol=0.07)
    np.testing.assert_allclose(found.distance, [0.9965423, 0.9976600], rtol=0, atol=1.5e-4)


def test_zenith_angle_worked_out_by_others() -> None:
    """The same table: altitude 39.872046° without refraction at 39.742476° N, 105.1786° W."""
    found = cos_zenith(utc("2003-10-17T19:30:30"), np.array([39.742476]), np.array([360 - 105.1786]))
    assert 90 - degrees(np.arccos(found)).item() == pytest.approx(39.872046, abs=ARC_MINUTE)


def test_extremes_of_the_equation_of_time() -> None:
    """Known to every maker of sundials: -14.2 min on 11 or 12 February, +3.7 on 14 May, -6.5 on 26 July, +16.4 on
    3 November, and none on 15 April, 13 June, 1 September and 25 December, each within a day."""
    days = np.arange(np.datetime64("2023-01-01T12:00"), np.datetime64("2024-01-01T12:00"), np.timedelta64(1, "D"))
    values = minutes(sun(days).equation_of_time)
    turning = np.flatnonzero(np.diff(np.sign(np.diff(values)))) + 1
    expected = {"2023-02-11": -14.24, "2023-05-14": 3.65, "2023-07-26": -6.54, "2023-11-03": 16.45}
    for day, (date, value) in zip(turning, expected.items(), strict=True):
        assert abs(days[day] - np.datetime64(f"{date}T12:00")) <= np.timedelta64(1, "D")
        assert values[day] == pytest.approx(value, abs=0.1)
    none = np.flatnonzero(np.diff(np.sign(values)))
    for day, date in zip(none, ("2023-04-15", "2023-06-13", "2023-09-01", "2023-12-25"), strict=True):
        assert abs(days[day] - np.datetime64(f"{date}T12:00")) <= np.timedelta64(1, "D")


def test_distance_at_perihelion_and_aphelion() -> None:
    near, far = sun(np.array([PERIHELION, APHELION], dtype="datetime64[s]")).distance
    assert near == pytest.approx(0.98330, abs=1.5e-4)
    assert far == pytest.approx(1.01668, abs=1.5e-4)
    year = sun(np.arange(np.datetime64("2023-01-01"), np.datetime64("2024-01-01"))).distance
    assert near == pytest.approx(year.min(), abs=1e-5)
    assert far == pytest.approx(year.max(), abs=1e-5)


@pytest.mark.parametrize(
    ("date", "latitude", "longitude", "rise", "fall"),
    [
        # Reda & Andreas (2004), table A2.1 (Astronomical Almanac), at Greenwich's meridian.
        ("1994-01-02", 35.0, 0.0, "07:08:13", "16:59:56"),
        ("1996-07-05", -35.0, 0.0, "07:08:15", "17:01:05"),
        ("2004-12-04", -35.0, 0.0, "04:38:57", "19:02:02"),
        # Their table A5.1: Golden, Colorado, where the sun sets soon after midnight UTC.
        ("2003-10-17", 39.742476, 360 - 105.1786, "13:12:43", "00:20:19"),
    ],
)
def test_sunrise_and_sunset(date: str, latitude: float, longitude: float, rise: str, fall: str) -> None:
    seconds = np.arange(86400)
    times = np.datetime64(f"{date}T00:00:00") + seconds.astype("timedelta64[s]")
    up = cos_zenith(times, np.array([latitude]), np.array([longitude])).ravel() > HORIZON
    rises, falls = seconds[1:][~up[:-1] & up[1:]], seconds[1:][up[:-1] & ~up[1:]]
    for found, expected in ((rises, rise), (falls, fall)):
        hour, minute, second = map(int, expected.split(":"))
        np.testing.assert_allclose(found, [3600 * hour + 60 * minute + second], rtol=0, atol=4)


def test_midnight_sun_and_polar_night() -> None:
    """Tromsø's, as its guides give them: 18 May to 26 July, and 27 November to 15 January; here to within two days."""
    latitude, longitude = np.array([69.65]), np.array([18.96])
    minutes = np.arange(24 * 60) * np.timedelta64(1, "m")

    def altitudes(date: str) -> np.ndarray:
        return cos_zenith(np.datetime64(f"2023-{date}T00:00") + minutes, latitude, longitude)

    assert min(altitudes(date).min() for date in ("05-20", "06-21", "07-24")) > HORIZON
    assert max(altitudes(date).min() for date in ("05-16", "07-28")) < HORIZON
    assert max(altitudes(date).max() for date in ("11-29", "12-21", "01-13")) < HORIZON
    assert min(altitudes(date).max() for date in ("11-25", "01-17")) > HORIZON
    assert mean_cos_zenith(utc("2023-12-21"), 24, latitude, longitude).item() == 0


@pytest.mark.parametrize(("hours", "tolerance"), [(1, 2e-5), (6, 3e-4), (24, 2e-3), (30, 2e-3)])
def test_the_mean_over_a_step_is_that_of_its_instants(hours: int, tolerance: float) -> None:
    """Quadrature of the positive part, with the sun's own motion, which the mean leaves out."""
    times = utc("2021-03-01T00:00", "2021-06-21T06:00", "2021-12-30T21:00")
    latitude, longitude = np.linspace(90, -90, 19), np.arange(0, 360, 30.0)
    found = mean_cos_zenith(times, hours, latitude, longitude)
    instants = np.arange(5, 3600 * hours, 10).astype("timedelta64[s]")
    for time, field in zip(times, found, strict=True):
        each = cos_zenith(time + instants, latitude, longitude).astype(np.float64)
        expected = np.maximum(each, 0).mean(axis=0)
        assert np.linalg.norm(field - expected) < tolerance * np.linalg.norm(expected)
        assert np.all(field[expected == 0] < 1e-12)
        assert field.min() >= 0


def test_steps_add_up_to_a_day() -> None:
    latitude, longitude = np.linspace(90, -90, 37), np.arange(0, 360, 10.0)
    steps = np.datetime64("2022-04-10T00") + np.arange(4) * np.timedelta64(6, "h")
    each = mean_cos_zenith(steps, 6, latitude, longitude).mean(axis=0)
    day = mean_cos_zenith(steps[:1], 24, latitude, longitude)[0]
    assert np.linalg.norm(each - day) < 2e-3 * np.linalg.norm(day)
    np.testing.assert_allclose(day, np.broadcast_to(day[:, :1], day.shape), atol=1e-6)


def test_a_sphere_catches_a_quarter_of_the_sunlight() -> None:
    """Its shadow is πr², its surface 4πr², at any time and over any step."""
    grid = preset("180x360")
    weights = area_weights(grid.latitude)
    times = utc("2020-02-29T03:00", "2020-09-22T12:00")
    for hours in (1, 6):
        found = mean_cos_zenith(times, hours, grid.latitude, grid.longitude).mean(axis=2) @ weights / 180
        np.testing.assert_allclose(found, 0.25, rtol=2e-4)
    flux = incoming_solar(times, 6, grid.latitude, grid.longitude).mean(axis=2) @ weights / 180
    np.testing.assert_allclose(flux, SOLAR_CONSTANT / 4 / sun(times).distance ** 2, rtol=4e-4)


def test_fifteen_degrees_east_is_an_hour_later() -> None:
    latitude, east = np.linspace(80, -80, 9), np.array([15.0])
    time = utc("2021-08-01T10:00")
    later = cos_zenith(time + np.timedelta64(1, "h"), latitude, east - 15)
    np.testing.assert_allclose(cos_zenith(time, latitude, east), later, rtol=0, atol=3e-4)


def as_in_era5(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Declination, equation of time and distance by the IFS's functions RDS, RET and RRS (fcttim), which ERA5 used.

    Published in Environment Canada's GEM and in DeepMind's GraphCast, where they reproduce ERA5's tisr.
    """
    years = (times - np.datetime64("2000-01-01T12:00")) / np.timedelta64(1, "s") / 86400 / 365.25
    rel, rem, rlls = 1.7535 + 6.283076 * years, 6.240041 + 6.283020 * years, 4.8951 + 6.283076 * years
    first, second = -0.0075 * np.sin(rel) - 0.0326 * np.cos(rel), -0.0003 * np.sin(2 * rel) + 0.0002 * np.cos(2 * rel)
    longitude = 4.8952 + 6.283320 * years + first + second
    seconds = 591.8 * np.sin(2 * rlls) - 459.4 * np.sin(rem) + 39.5 * np.sin(rem) * np.cos(2 * rlls)
    seconds = seconds - 12.7 * np.sin(4 * rlls) - 4.8 * np.sin(2 * rem)
    distance = 1.0001 - 0.0163 * np.sin(rel) + 0.0037 * np.cos(rel)
    return np.arcsin(np.sin(0.409093) * np.sin(longitude)), seconds * 2 * np.pi / 86400, distance


def test_close_to_the_formulas_of_era5() -> None:
    times = np.arange(np.datetime64("1940-01-01T00"), np.datetime64("2025-01-01T00"), np.timedelta64(53, "h"))
    found = sun(times)
    declination, equation_of_time, distance = as_in_era5(times)
    assert np.abs(degrees(found.declination - declination)).max() < ARC_MINUTE
    assert np.abs(minutes(found.equation_of_time - equation_of_time)).max() < 20 / 60
    assert np.abs(found.distance - distance).max() < 3e-4


def test_an_hour_of_sunlight_as_era5_accumulates_it() -> None:
    """``tisr``: joules per square metre in the hour that ends at its time, here summed over minutes of that hour."""
    time = utc("2019-07-15T12:00")
    latitude, longitude = np.linspace(89, -89, 90), np.arange(0, 360, 4.0)
    instants = time[0] - (np.arange(60) * 60 + 30).astype("timedelta64[s]")
    declination, equation_of_time, distance = (x[:, None, None] for x in as_in_era5(instants))
    day = (instants - np.datetime64("2019-07-15T00:00")) / np.timedelta64(1, "D")
    hour = 2 * np.pi * day[:, None, None] - np.pi + equation_of_time + np.deg2rad(longitude)
    north = np.deg2rad(latitude)[:, None]
    cosine = np.sin(north) * np.sin(declination) + np.cos(north) * np.cos(declination) * np.cos(hour)
    expected = 3600 * (SOLAR_CONSTANT / distance**2 * np.maximum(cosine, 0)).mean(axis=0)
    found = 3600 * incoming_solar(time - np.timedelta64(1, "h"), 1, latitude, longitude)[0]
    assert np.linalg.norm(found - expected) < 2e-3 * np.linalg.norm(expected)


def test_time_of_day_and_of_year_go_round() -> None:
    day = time_of_day(utc("2020-05-05T00:00", "2021-01-31T06:00", "2021-01-31T12:00", "2021-12-31T18:00"))
    np.testing.assert_allclose(day, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6)
    # Half of 365 days is 2 July 12 UTC; half of the 366 days of a leap year is 2 July 0 UTC.
    year = time_of_year(utc("2021-01-01T00:00", "2021-07-02T12:00", "2020-07-02T00:00"))
    np.testing.assert_allclose(year, [[0, 1], [0, -1], [0, -1]], atol=1e-6)
    ends = time_of_year(utc("2020-12-31T18:00", "2021-01-01T00:00"))
    np.testing.assert_allclose(np.linalg.norm(ends[1] - ends[0]), 2 * np.pi / (4 * 366), rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(year, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("unit", ["h", "m", "s", "ms", "ns"])
def test_any_resolution_of_time_will_do(unit: str) -> None:
    times = utc("1979-02-28T18:00", "2024-02-29T06:00")
    latitude, longitude = np.array([50.0, -10.0]), np.array([0.0, 120.0])
    other = times.astype(f"datetime64[{unit}]")
    for function in (time_of_day, time_of_year):
        np.testing.assert_array_equal(function(other), function(times))
    np.testing.assert_array_equal(cos_zenith(other, latitude, longitude), cos_zenith(times, latitude, longitude))
    found = mean_cos_zenith(other, 1.5, latitude, longitude)
    np.testing.assert_array_equal(found, mean_cos_zenith(times, 1.5, latitude, longitude))
    assert found.shape == (2, 2, 2)
    assert found.dtype == np.float32


def test_static_features() -> None:
    grid = preset("5x8")
    found = static_features(grid)
    assert set(found) == {"sin_latitude", "sin_longitude", "cos_longitude"}
    assert all(field.shape == (5, 8) and field.dtype == np.float32 for field in found.values())
    np.testing.assert_allclose(found["sin_latitude"][:, 3], [1, np.sqrt(0.5), 0, -np.sqrt(0.5), -1], atol=1e-7)
    np.testing.assert_allclose(found["sin_longitude"][2, ::2], [0, 1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(found["cos_longitude"][2, ::2], [1, 0, -1, 0], atol=1e-6)
