"""The verb ``fourcast verify``: score forecasts against analyses, beside persistence and climatology.

The work is done in parts, which any number of processes share. Whoever runs the same command again, after a failure
or beside the first, goes on with what is not yet done.
"""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from fourcast.data.tasks import Outcome, attend, claim
from fourcast.errors import InputError
from fourcast.files import whole_directory
from fourcast.periods import parse_part
from fourcast.progress import progress
from fourcast.verify.parts import part_paths, preparations, work
from fourcast.verify.plan import Plan
from fourcast.verify.prepare import make_plan
from fourcast.verify.results.figures import require_matplotlib
from fourcast.verify.results.merge import Parts
from fourcast.verify.results.write import RESULTS, SCORES, write_results
from fourcast.verify_config import VerifyConfig


def verify(config: VerifyConfig) -> Path:
    """Write scores, tables and pictures into ``config.output``, replacing an earlier verification; returns its path.

    With ``part`` only that share of the work is done; whoever finds all of it done writes the results. Raises
    InputError where forecasts and analyses do not fit together or cannot be used, or the output is something else or
    being written with other settings, and OSError where the system fails, as when the disk is full. Either way the
    parts that are done are kept for the next run with the same settings and inputs.
    """
    output = Path(config.output)
    if config.plots:
        require_matplotlib()
    _refuse_foreign(output)
    plan = make_plan(config)
    for line in plan.left_out:
        print(line, file=sys.stderr)
    if config.part is not None and _holds(output, plan.digest):
        print(f"{output} already holds this verification: nothing to do")
        return output
    folder = _parts_folder(output, plan.digest)
    _do_share(plan, folder)
    missing = [path for path in part_paths(plan, folder) if not path.exists()]
    if missing and not _holds(output, plan.digest):
        print(f"{output}: this share is done; {len(missing)} parts are left to the others")
        return output
    _publish(Publication(plan, output, folder))
    _remove(folder)
    return output


def _refuse_foreign(output: Path) -> None:
    """Raise InputError where ``output`` holds anything but an earlier verification, which is replaced."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; name a folder as output")
    others = [path.name for path in output.glob("*") if path.name not in RESULTS and path.suffix != ".png"]
    if others:
        some = ", ".join(sorted(others)[:3])
        raise InputError(f"{output} holds {some}, which is no verification; name another output")


def _holds(output: Path, digest: str) -> bool:
    """Whether the verification of this digest is finished."""
    try:
        with xr.open_dataset(output / SCORES, engine="netcdf4") as scores:
            return bool(scores.attrs.get("digest") == digest)
    except FileNotFoundError:
        return False


def _parts_folder(output: Path, digest: str) -> Path:
    """A folder for the parts of this digest beside the output; those of others go, unless somebody is at them."""
    parts = output.with_name(f"{output.name}.parts")
    folder = parts / digest[:16]
    foreign = [path.name for path in parts.glob("*") if len(path.name) != len(folder.name)]
    if foreign:
        raise InputError(f"{parts} holds {foreign[0]}, which is no part of a verification; name another output")
    others = [path for path in parts.glob("*") if path != folder]
    if any(is_attended(other) for other in others):
        raise InputError(
            f"{output} is being written by a verification with other settings or inputs; wait until it has ended, or "
            "name another output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for other in others:
        shutil.rmtree(other, ignore_errors=True)
    shutil.rmtree(folder / "failures", ignore_errors=True)
    return folder


def is_attended(folder: Path) -> bool:
    """Whether a process that is alive is at a task of ``folder``."""
    for path in (folder / "claims").glob("*"):
        if not claim(folder, path.name):
            return True
        path.unlink(missing_ok=True)
    return False


def _remove(folder: Path) -> None:
    """Delete a folder of parts, and the folder of all of them where it was the last."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # others are there, or it is gone
        folder.parent.rmdir()


def _do_share(plan: Plan, folder: Path) -> None:
    """Do this run's share of the parts; where something fails that the user can mend, no empty folder is left."""
    place, count = parse_part(plan.config.part)
    share = np.array_split(np.arange(len(part_paths(plan, folder))), count)[place].tolist()
    try:
        _raise_failures(list(attend(preparations(plan, folder), folder)))
        outcomes = list(progress(work(plan, folder, share), len(share), "scored parts"))
        _raise_failures(outcomes)
    except InputError:
        if plan.config.part is None and not any(path.exists() for path in part_paths(plan, folder)):
            _remove(folder)
        raise
    if len(outcomes) < len(share):
        raise OSError(
            f"{len(share) - len(outcomes)} parts came to no end: a process died, perhaps for want of memory (then "
            "lower workers); the same command goes on with them"
        )


def _raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise InputError where tasks failed for reasons that the user can mend, OSError where the system failed."""
    errors = [outcome for outcome in outcomes if outcome.error is not None]
    if errors:
        more = f" (and {len(errors) - 1} more like it)" if len(errors) > 1 else ""
        text = f"{errors[0].error}{more}"
        raise InputError(text) if all(error.input for error in errors) else OSError(text)


@dataclass(frozen=True, eq=False)
class Publication:
    """The last task: the results of all parts."""

    plan: Plan
    output: Path
    folder: Path
    name: str = "results"
    words: str = "results"

    def is_done(self) -> bool:
        """See Task."""
        again = self.plan.config.part is None and all(path.exists() for path in part_paths(self.plan, self.folder))
        return not again and _holds(self.output, self.plan.digest)

    def run(self) -> None:
        """See Task."""
        with whole_directory(self.output) as folder, Parts(part_paths(self.plan, self.folder)) as parts:
            text = write_results(parts, self.plan, folder)
        print(text)


def _publish(publication: Publication) -> None:
    """Write the results, unless another process does."""
    _raise_failures(list(attend([publication], publication.folder)))
