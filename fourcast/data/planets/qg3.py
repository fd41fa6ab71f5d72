"""QG3: a three-level quasi-geostrophic global atmosphere with seasons, jets, storm tracks and stationary waves.

Potential vorticity at 200, 500 and 800 hPa is carried by the wind that it induces (Marshall & Molteni 1993, J. Atmos.
Sci. 50, 1792-1818, equations 1-2; parameters from their appendix A):

    ∂q_i/∂t = -∇·(v_i q_i) + radiation + surface drag + ∇⁸ diffusion
    q_1 = ∇²ψ_1 - (ψ_1 - ψ_2) / R_1² + f
    q_2 = ∇²ψ_2 + (ψ_1 - ψ_2) / R_1² - (ψ_2 - ψ_3) / R_2² + f
    q_3 = ∇²ψ_3 + (ψ_2 - ψ_3) / R_2² + f (1 + h / H)

In place of their empirical forcing, temperature relaxes to an idealised thermal wind that follows the seasons, and the
ground h is a handful of smooth mountains. Shape letters as in harmonics.py; K is the three levels, top first. In the
code q is without its planetary part f (1 + h / H).
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from fourcast.data.planets.harmonics import Array, Harmonics
from fourcast.data.planets.planet import (
    GAS_CONSTANT,
    GRAVITY,
    STEP_HOURS,
    Float32,
    Planet,
    States,
    Times,
    block_times,
    steps_in,
)
from fourcast.data_config import PlanetConfig
from fourcast.errors import InputError
from fourcast.grid import Grid
from fourcast.periods import parse_time

LEVELS = (200, 500, 800)
LAYERS = (316, 632)
# Metres, U.S. Standard Atmosphere 1976 at LEVELS.
MEAN_HEIGHT = np.array([11_784.0, 5_574.0, 1_949.0])

RADIUS = 6.371e6
ROTATION = 7.292e-5
DAY = 86_400.0
ROSSBY_RADII = (700e3, 450e3)
SCALE_HEIGHT = 9_000.0
RADIATION_TIME = 20 * DAY
DRAG_TIME = 3 * DAY
DIFFUSION_TIME = 2 * DAY

# Equilibrium wind difference across the upper and the lower layer in the middle of the jets, m s-1; in winter the jet
# is stronger by SEASON_SHEAR and nearer to the equator by SEASON_LATITUDE degrees than in the mean, in summer the
# other way round.
SHEAR = np.array([33.0, 21.0])
JET_LATITUDE, JET_WIDTH = 36.0, 15.0
SEASON_SHEAR, SEASON_LATITUDE = 0.25, 3.0

# Latitude, longitude, height in m, half-widths in degrees of latitude and longitude.
MOUNTAINS = {
    "Tibet": (33.0, 88.0, 4200.0, 9.0, 18.0),
    "Rocky Mountains": (44.0, 250.0, 2000.0, 14.0, 12.0),
    "Greenland": (72.0, 320.0, 2300.0, 9.0, 16.0),
    "Andes": (-25.0, 292.0, 2300.0, 18.0, 6.0),
    "East Africa": (0.0, 32.0, 1000.0, 16.0, 12.0),
    "Antarctica": (-90.0, 0.0, 2600.0, 17.0, np.inf),
}
# Ground of this height in m and above is land entirely.
COAST = 300.0


class QuasiGeostrophic:
    """The equations, acting on coefficients [M, P, K, N]."""

    def __init__(self, truncation: int) -> None:
        self.harmonics = Harmonics(truncation)
        self.substeps = max(12, -(-12 * truncation // 21))
        self.time_step = STEP_HOURS * 3600.0 / self.substeps
        self.laplacian_N = self.harmonics.laplacian_N / RADIUS**2
        self.inverse_laplacian_N = np.concatenate([[0.0], 1 / self.laplacian_N[1:]])
        self.damping_N = np.exp(-self.time_step / DIFFUSION_TIME * (self.laplacian_N / self.laplacian_N[-1]) ** 4)

        upper, lower = 1 / np.square(ROSSBY_RADII)
        self.stretching_KK = np.array([[-upper, upper, 0], [upper, -upper - lower, lower], [0, lower, -lower]])
        operator_NKK = self.laplacian_N[1:, None, None] * np.eye(3) + self.stretching_KK
        self.inverse_KKN = np.pad(np.linalg.inv(operator_NKK), ((1, 0), (0, 0), (0, 0))).transpose(1, 2, 0).copy()

        self.height_WH, self.land_WH = ground(self.harmonics)
        self.drag_WH = (1 + 0.5 * self.land_WH + 0.5 * (1 - np.exp(-self.height_WH / 1000))) / DRAG_TIME
        self.coriolis_H = 2 * ROTATION * self.harmonics.sin_H
        raised_W1H = (self.coriolis_H * self.height_WH / SCALE_HEIGHT)[:, None]
        raised_W1H = self.harmonics.synthesize(self.harmonics.analyse(raised_W1H))
        self.planetary_WKH = self.coriolis_H + raised_W1H * np.array([[0.0], [0.0], [1.0]])

    def potential_vorticity(self, psi_MPKN: Array) -> Array:
        """q of a stream function, without the planetary part."""
        return self.laplacian_N * psi_MPKN + self.stretching_KK @ psi_MPKN

    def streamfunction(self, q_MPKN: Array) -> Array:
        """The inverse of ``potential_vorticity``; its global mean is zero."""
        first, second, third = (self.inverse_KKN[:, k] * q_MPKN[..., k, None, :] for k in range(3))
        return first + second + third

    def tendency(self, q_MPKN: Array, target_MPKN: Array) -> Array:
        """∂q/∂t, with the stretching part of q relaxing to ``target_MPKN``; without diffusion."""
        psi_MPKN = self.streamfunction(q_MPKN)
        stretching_MPKN = q_MPKN - self.laplacian_N * psi_MPKN
        return self.transport(psi_MPKN, q_MPKN) + (target_MPKN - stretching_MPKN) / RADIATION_TIME

    def transport(self, psi_MPKN: Array, q_MPKN: Array) -> Array:
        """-∇·(v q) and, at the lowest level, the curl of the drag -k v: together the divergence of one flux."""
        east, north = self.harmonics.gradient(psi_MPKN)
        u_WKH, v_WKH = north / -RADIUS, east / RADIUS
        q_WKH = self.harmonics.synthesize(q_MPKN) + self.planetary_WKH
        flux_east, flux_north = u_WKH * q_WKH, v_WKH * q_WKH
        flux_east[:, 2] += self.drag_WH * v_WKH[:, 2]
        flux_north[:, 2] -= self.drag_WH * u_WKH[:, 2]
        return self.harmonics.divergence(flux_east, flux_north) / -RADIUS

    def equilibrium(self, winter: float) -> Array:
        """Stream function in thermal equilibrium; ``winter`` is 1 in northern, -1 in southern midwinter."""
        latitude_H = self.harmonics.latitude
        jets_H = np.zeros_like(latitude_H)
        for side in (1, -1):
            centre = side * JET_LATITUDE - SEASON_LATITUDE * winter
            jets_H += (1 + side * SEASON_SHEAR * winter) * np.exp(-(((latitude_H - centre) / JET_WIDTH) ** 2))
        wind_KH = np.array([[SHEAR.sum()], [SHEAR[1]], [0.0]]) * jets_H * np.cos(np.deg2rad(latitude_H))
        u_WKH = np.broadcast_to(wind_KH, self.planetary_WKH.shape)
        vorticity_MPKN = self.harmonics.divergence(np.zeros_like(u_WKH), -u_WKH) / RADIUS
        return self.inverse_laplacian_N * vorticity_MPKN

    def fields(self, q_TMPKN: Array) -> dict[str, Float32]:
        """Wind, geopotential in linear balance and hypsometric layer-mean temperature: each [T, level, H, W]."""
        states = len(q_TMPKN)
        psi_MPTKN = np.moveaxis(self.streamfunction(q_TMPKN), 0, 2)
        psi_MPXN = psi_MPTKN.reshape(*psi_MPTKN.shape[:2], states * 3, -1)
        east, north = self.harmonics.gradient(psi_MPXN)
        balance_MPXN = self.harmonics.divergence(self.coriolis_H * east, self.coriolis_H * north) / RADIUS**2
        z_WXH = self.harmonics.synthesize(self.inverse_laplacian_N * balance_MPXN)
        z_WXH += np.tile(GRAVITY * MEAN_HEIGHT, states)[:, None]
        metres_H = RADIUS * np.cos(np.deg2rad(self.harmonics.latitude))
        u, v, z = (x.reshape(len(x), states, 3, -1) for x in (-north / metres_H, east / metres_H, z_WXH))
        t = -np.diff(z, axis=2) / np.diff(np.log(LEVELS))[:, None] / GAS_CONSTANT
        by_name = {"u": u, "v": v, "z": z, "t": t}
        return {name: x.transpose(1, 2, 3, 0).astype(np.float32, order="C") for name, x in by_name.items()}


def ground(harmonics: Harmonics) -> tuple[Array, Array]:
    """Height in m of MOUNTAINS and the land fraction: two of [W, H]."""
    height_WH = np.zeros((len(harmonics.longitude), len(harmonics.latitude)))
    for latitude, longitude, height, half_latitude, half_longitude in MOUNTAINS.values():
        east_W1 = (harmonics.longitude[:, None] - longitude + 180) % 360 - 180
        north_H = harmonics.latitude - latitude
        height_WH += height * np.exp(-((north_H / half_latitude) ** 2) - (east_W1 / half_longitude) ** 2)
    return height_WH, np.minimum(height_WH / COAST, 1.0)


def initial(model: QuasiGeostrophic, start: np.datetime64, seed: int) -> Array:
    """q of the equilibrium wind with random waves on it."""
    psi_MPKN = model.equilibrium(season(start))
    waves_MPKN = 1e5 * np.random.default_rng(seed).standard_normal(psi_MPKN.shape)
    m, n = np.arange(psi_MPKN.shape[0])[:, None], np.arange(psi_MPKN.shape[3])
    psi_MPKN += waves_MPKN * ((m > 0) & (n >= m))[:, None, None, :]
    return model.potential_vorticity(psi_MPKN)


def trajectory(model: QuasiGeostrophic, q_MPKN: Array, start: np.datetime64) -> Iterator[Array]:
    """q every six hours without end, the first as given; third-order Adams-Bashforth steps (Durran 1991)."""
    winter, summer = (model.stretching_KK @ model.equilibrium(side) for side in (1.0, -1.0))
    previous = older = None
    time = start
    while True:
        yield q_MPKN
        target_MPKN = (winter + summer) / 2 + season(time) * (winter - summer) / 2
        for _ in range(model.substeps):
            now = model.tendency(q_MPKN, target_MPKN)
            if previous is None or older is None:
                previous = older = now
            step = (23 * now - 16 * previous + 5 * older) * (model.time_step / 12)
            q_MPKN = (q_MPKN + step) * model.damping_N
            previous, older = now, previous
        time += np.timedelta64(STEP_HOURS, "h")


def season(time: np.datetime64) -> float:
    """1 at northern midwinter of the equilibrium, on 1 January, and -1 half a year later."""
    days = (time - np.datetime64("2001-01-01T00")) / np.timedelta64(1, "D")
    return float(np.cos(2 * np.pi * days / 365.2425))


def qg3(config: PlanetConfig) -> Planet:
    """The planet of ``config``, spun up when its first state is read; InputError where a setting is not for it."""
    if config.levels != PlanetConfig().levels:
        raise InputError(f"planet.levels is for speedy only, qg3 has {LEVELS}; found {config.levels}, leave it out")
    if config.truncation < 5:
        raise InputError(f"planet.truncation must be at least 5 for qg3, found {config.truncation}")
    first = parse_time("planet.start", config.start)
    spinup = steps_in(config.spinup_days, "planet.spinup_days")
    begin = first - spinup * np.timedelta64(STEP_HOURS, "h")
    model = QuasiGeostrophic(config.truncation)
    run = islice(trajectory(model, initial(model, begin, config.seed), begin), spinup, None)
    return Planet(
        source=f"QG3, quasi-geostrophic, three levels, T{config.truncation} (after Marshall and Molteni 1993)",
        grid=Grid(model.harmonics.latitude, model.harmonics.longitude),
        levels={"u": LEVELS, "v": LEVELS, "z": LEVELS, "t": LAYERS},
        static={
            "z_sfc": (GRAVITY * model.height_WH.T).astype(np.float32),
            "lsm": model.land_WH.T.astype(np.float32),
        },
        comments={"t": "mean temperature of the layer around the pressure, from the geopotential at its bounds"},
        states=_states(model, run, block_times(first, steps_in(config.days, "planet.days"))),
    )


def _states(model: QuasiGeostrophic, run: Iterator[Array], blocks: Iterator[Times]) -> Iterator[States]:
    for times in blocks:
        yield States(times, model.fields(np.stack(list(islice(run, len(times))))))
