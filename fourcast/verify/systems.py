"""What is scored goes by the name of its kind, behind ``NAME/`` where forecasts have names."""

from collections.abc import Sequence

CLIMATE_ENSEMBLE = "climatology_ensemble"
BASELINES = ("persistence", "climatology", CLIMATE_ENSEMBLE)
ENSEMBLES = ("ensemble", CLIMATE_ENSEMBLE)


def kind(system: str) -> str:
    """``ensemble_mean`` of ``NAME/ensemble_mean``."""
    return system.rpartition("/")[2]


def sibling(system: str, other: str) -> str:
    """The ``other`` kind of the forecast that ``system`` belongs to: ``NAME/ensemble`` of ``NAME/control``."""
    name, slash, _ = system.rpartition("/")
    return name + slash + other


def is_ensemble(system: str) -> bool:
    """Whether a system is scored as an ensemble, not as a single field."""
    return kind(system) in ENSEMBLES


def references(systems: Sequence[str]) -> tuple[str, ...]:
    """With what systems are compared: the baselines and, of several forecasts, the first one's systems."""
    first = systems[0].rpartition("/")[0]
    own = [name for name in systems if first and name.rpartition("/")[0] == first]
    return (*(name for name in BASELINES if name in systems), *own)
