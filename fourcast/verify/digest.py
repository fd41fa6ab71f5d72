"""Whether two verifications are the same: the digest of a configuration and of the files it names, as they are now."""

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fourcast import __version__
from fourcast.verify.inputs.climatology import NONE
from fourcast.verify.inputs.forecasts import Forecast
from fourcast.verify_config import VerifyConfig

ELSEWHERE = ("output", "workers", "part")
"""What of a configuration does not change the results."""


def digest_of(config: VerifyConfig, forecasts: Sequence[Forecast]) -> str:
    """In hexadecimal; other files, other settings and another version have another one."""
    asked = {key: value for key, value in asdict(config).items() if key not in ELSEWHERE}
    paths = [*config.forecast, config.store, *config.masks.values()]
    paths += [config.climatology] if config.climatology not in (None, NONE) else []
    found = [[f.members, f.channels, f.lead_hours, list(map(str, f.init_times)), f.attributes] for f in forecasts]
    stamps = [list(_stamps(path)) for path in paths]
    text = json.dumps([__version__, asked, found, stamps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _stamps(path: str) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of a folder and all to two levels in it; none of what is remote.

    In a run two levels reach the members' files, in a zarr store the metadata of every array.
    """
    at = Path(path)
    matches = [at] if at.exists() else map(Path, sorted(glob.glob(path)))  # noqa: PTH207 (absolute globs)
    for found in matches:
        for each in sorted([found, *found.glob("*"), *found.glob("*/*")]):
            status = each.stat()
            yield str(each), status.st_size, status.st_mtime_ns
