"""Global weather forecasting around FourCastNet, from ERA5 to a verified ensemble in CF netCDF."""

__version__ = "0.1.0"
