"""Forecasts: models rolled forward, their perturbed members, the files these are in, and what opens these."""

from fourcast.forecast.reader import open_ensemble, open_product

__all__ = ["open_ensemble", "open_product"]
