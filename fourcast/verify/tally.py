"""What one channel comes to over the cases of a part: statistics by case, and sums over initial times."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fourcast.verify.case import Found, FoundBaselines
from fourcast.verify.extras import Scores
from fourcast.verify.part import LAYOUT, PartWriter
from fourcast.verify.plan import Plan
from fourcast.verify.probabilities import BINS, EVENT_STATISTICS, QUANTITIES
from fourcast.verify.seeps_climate import DRY_BELOW
from fourcast.verify.spectra import BANDS, band_wavelengths

Float64 = NDArray[np.float64]


class Tally:
    """Arrays of one channel, filled case by case in the order of the cases, and then written.

    Each has the dimensions of LAYOUT without that of the channel; sizes: of the dimensions in the part.
    """

    def __init__(self, plan: Plan, sizes: Mapping[str, int], channel: str) -> None:
        self.plan = plan
        self.sizes = sizes
        self.channel = channel
        names = [name for name in held_names(plan) if name != "verified"]
        self.mapped = channel in plan.map_channels
        by_channel = [name for name in names if "channel" in LAYOUT[name]]
        by_map = [name for name in names if "map_channel" in LAYOUT[name] and self.mapped]
        self.arrays = {name: self._empty(name, "channel") for name in by_channel}
        self.arrays |= {name: self._empty(name, "map_channel") for name in by_map}
        self.events = {
            place: {name: self._empty(name, "event") for name in names if "event" in LAYOUT[name]}
            for place, _ in plan.events_of(channel)
        }

    def _empty(self, name: str, without: str) -> Float64:
        shape = [self.sizes[dim] for dim in LAYOUT[name] if dim != without]
        return np.full(shape, np.nan if "init_time" in LAYOUT[name] else 0.0)

    def add(self, i_init: int, i_lead: int, found: Found, baselines: FoundBaselines) -> None:
        """Add a case, ``i_init`` counting from the part's first initial time."""
        case = (i_init, i_lead)
        for name, systems in chain(found.statistics.items(), baselines.statistics.items()):
            self._put(self.arrays[name], systems, case)
        self.arrays["coverage"][case] = found.coverage
        for e, ensemble in enumerate(self.plan.ensembles):
            if ensemble in found.ranks:
                ranks_RK = found.ranks[ensemble]
                self.arrays["rank_sum"][e, i_lead, :, : ranks_RK.shape[1]] += ranks_RK
                self.arrays["rank_cases"][e, i_lead] += ranks_RK.sum(axis=1) > 0
        if found.spectra is not None:
            self.arrays["spectrum_sum"][:, i_lead] += found.spectra
            self.arrays["spectrum_cases"][i_lead] += 1
        self._add_events(case, found, baselines)
        if found.maps is not None:
            self._add_maps(self.plan.map_leads.index(self.plan.lead_hours[i_lead]), *found.maps)

    def _put(self, array_SILR: Float64, systems: Mapping[str, Float64], case: tuple[int, int]) -> None:
        for system, values_R in systems.items():
            array_SILR[(self.plan.systems.index(system), *case)] = values_R

    def _add_events(self, case: tuple[int, int], found: Found, baselines: FoundBaselines) -> None:
        for place, arrays in self.events.items():
            for scores in (found.events.get(place, Scores()), baselines.events.get(place, Scores())):
                for name, systems in scores.items():
                    self._put(arrays[name], systems, case)
            for ensemble, sums_RBQ in found.reliability.get(place, {}).items():
                arrays["reliability_sum"][self.plan.ensembles.index(ensemble), case[1]] += sums_RBQ

    def _add_maps(self, i_lead: int, errors_SHW: Float64, variances_EHW: Float64) -> None:
        valid_HW = ~np.isnan(errors_SHW[0])
        self.arrays["map_error"][:, i_lead] += np.where(valid_HW, errors_SHW, 0.0)
        self.arrays["map_squared_error"][:, i_lead] += np.where(valid_HW, errors_SHW**2, 0.0)
        self.arrays["map_cases"][i_lead] += valid_HW
        if len(variances_EHW):
            self.arrays["map_variance"][:, i_lead] += np.where(valid_HW, variances_EHW, 0.0)

    def write(self, writer: PartWriter) -> None:
        """Put everything into a part."""
        for name, array in self.arrays.items():
            along = self.plan.channels if "channel" in LAYOUT[name] else self.plan.map_channels
            writer.put(name, array, along.index(self.channel))
        for place, arrays in self.events.items():
            for name, array in arrays.items():
                writer.put(name, array, place)


def held_names(plan: Plan) -> tuple[str, ...]:
    """The variables that a part of ``plan`` holds."""
    wanted = {
        "seeps": any(channel in DRY_BELOW for channel in plan.channels),
        "energy_score": plan.config.energy_score,
        "anomaly_correlation": plan.climate is not None,
        **dict.fromkeys((*EVENT_STATISTICS, "reliability_sum"), bool(plan.events)),
        **dict.fromkeys(("rank_sum", "rank_cases"), bool(plan.ensembles)),
        **dict.fromkeys(("spectrum_sum", "spectrum_cases"), plan.spectra),
        **dict.fromkeys(("map_error", "map_squared_error", "map_cases"), bool(plan.map_channels and plan.map_systems)),
        "map_variance": bool(plan.map_channels and plan.ensembles),
    }
    return tuple(name for name in LAYOUT if wanted.get(name, True))


def coordinates(plan: Plan, inits: slice) -> xr.Dataset:
    """The coordinates of a part of the initial times ``inits``, with the wavelengths of its waves."""
    rows, columns = plan.map_points
    found: dict[str, object] = {
        "system": list(plan.systems),
        "init_time": plan.init_times[inits].astype("datetime64[ns]"),
        "lead_time": np.array(plan.lead_hours).astype("timedelta64[h]").astype("timedelta64[ns]"),
        "channel": list(plan.channels),
        "region": list(plan.regions),
    }
    if plan.ensembles:
        found["ensemble"] = list(plan.ensembles)
        found["rank"] = np.arange(max(plan.members.values()) + 1)
        found["members"] = ("ensemble", list(plan.members.values()))
    if plan.events:
        found["event"] = [f"{event.channel} {event.condition}" for event in plan.events]
        found |= {"bin": np.linspace(0, 1, BINS), "quantity": list(QUANTITIES)}
    if plan.spectra:
        wavelengths_BK = band_wavelengths(plan.grid, plan.means.weights_H)
        found |= {"spectrum": list(plan.spectrum_names), "band": list(BANDS)}
        found["wavenumber"] = np.arange(wavelengths_BK.shape[1])
        found["wavelength"] = (("band", "wavenumber"), wavelengths_BK, {"units": "m"})
    if plan.map_channels and plan.map_systems:
        found |= {"map_system": list(plan.map_systems), "map_channel": list(plan.map_channels)}
        found["map_lead"] = np.array(plan.map_leads).astype("timedelta64[h]").astype("timedelta64[ns]")
        found |= {"latitude": plan.grid.latitude[rows], "longitude": plan.grid.longitude[columns]}
    return xr.Dataset(coords=found)
