"""A map of every channel of a store, for eyes that see what no statistic says."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourcast.data.store import Float32, Store, open_store
from fourcast.errors import InputError
from fourcast.variables import parse_channel


def plot_store(path: str | Path, folder: Path) -> list[Path]:
    """Draw the first time of every channel of the store at ``path``, and its static fields, as PNG into ``folder``."""
    store = open_store(path)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_draw(store, name, values, "static", folder) for name, values in store.static.items()]
    for name in store.channels:
        values = store.read(slice(0, 1), (name,))[0, 0]
        drawn.append(_draw(store, name, values, f"{store.times[0]} UTC", folder))
    return drawn


def _draw(store: Store, name: str, values: Float32 | NDArray[np.float64], when: str, folder: Path) -> Path:
    """One map, plate carrée, every grid point as it is; coastlines from the store's own land–sea mask."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("plot=… needs matplotlib: pip install 'fourcast[report]'") from error

    variable = parse_channel(name).variable if name in store.channels else None
    units = variable.units if variable else ""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axis = figure.subplots()
    grid = store.grid
    shown = axis.pcolormesh(grid.longitude, grid.latitude, values, shading="nearest", cmap="viridis")
    figure.colorbar(shown, ax=axis, orientation="horizontal", label=units, shrink=0.8, aspect=40)
    if "lsm" in store.static and name != "lsm":
        axis.contour(grid.longitude, grid.latitude, store.static["lsm"], [0.5], colors="white", linewidths=0.6)
    finite = values[np.isfinite(values)]
    extremes = f"{finite.min():g} … {finite.max():g} {units}" if finite.size else "no values"
    missing = f", {values.size - finite.size} missing" if finite.size < values.size else ""
    axis.set_title(f"{name}, {when}: {extremes}{missing}{' (SYNTHETIC)' if store.synthetic else ''}", fontsize=10)
    axis.set(xlabel="longitude in degrees east", ylabel="latitude in degrees north", aspect="equal")
    target = folder / f"{name}.png"
    figure.savefig(target, dpi=120)
    return target
