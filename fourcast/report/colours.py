"""Tables of 256 colours for the map, and which quantity takes which."""

import base64

import numpy as np

from fourcast.drawing import DIVERGING, FROM_ZERO, SIGNED
from fourcast.variables import Variable

AMOUNTS = "viridis"
TABLES = (AMOUNTS, FROM_ZERO, *DIVERGING)
"""None of them asks to tell red from green."""


def colour_tables() -> dict[str, str]:
    """Each table as 256 × (red, green, blue) bytes in base64."""
    from matplotlib import colormaps

    def encode(name: str) -> str:
        rgb = np.rint(colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
        return base64.b64encode(rgb.tobytes()).decode("ascii")

    return {name: encode(name) for name in TABLES}


def table_of(variable: Variable) -> str:
    """The colours of a quantity's values: diverging about zero where it is of both signs."""
    return DIVERGING[0] if variable.standard_name in SIGNED else AMOUNTS
