"""Loads the libraries that read and write data, in a process that may crash."""

from typing import Any


def libraries() -> dict[str, Any]:
    """Versions as the loaded libraries tell them, among them those of C libraries inside."""
    import hydra
    import netCDF4
    import numpy as np
    import xarray as xr
    import zarr

    return {
        "numpy": np.__version__,
        "xarray": xr.__version__,
        "zarr": zarr.__version__,
        "netCDF4": f"{netCDF4.__version__} (HDF5 {netCDF4.__hdf5libversion__})",
        "hydra": hydra.__version__,
    }
