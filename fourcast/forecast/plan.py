"""What a forecast run consists of: decided before the first step, checked against the disk, kept in its manifest."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from fourcast.checkpoint import Card
from fourcast.errors import InputError
from fourcast.files import PARTIAL, read_json, remove_abandoned, remove_directory, write_json
from fourcast.forecast.contents import ENSEMBLE_FILE, MANIFEST, ZARR
from fourcast.forecast.netcdf import Header, init_name, is_finished, member_path
from fourcast.forecast.products import ProductPlan
from fourcast.forecast.provenance import Attributes
from fourcast.forecast.select import Selection
from fourcast.forecast.tasks import Unfinished
from fourcast.progress import gigabytes

LEAST_RATIO = 0.5
"""Fields of the atmosphere compress to about 0.6 of their size; less than this is not to be hoped for."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A run: members from initial times, ``steps`` of the model far, of which ``selection`` goes to files.

    layout, compression, keep_bits: of FilesConfig. product_files: names of the files that every initial time has beside
    its members'. exact: whether members are computed so that nothing else changes their bits.
    """

    run: Path
    init_times: tuple[np.datetime64, ...]
    members: tuple[int, ...]
    steps: int
    selection: Selection
    layout: tuple[str, ...]
    products: ProductPlan | None
    product_files: tuple[str, ...]
    compression: int
    keep_bits: int | None
    exact: bool
    attributes: Attributes

    def header(self, init_time: np.datetime64, member: int | None) -> Header:
        """Of the file of a member, or of all together."""
        chosen = self.selection
        return Header(
            channels=chosen.channels,
            latitude=chosen.latitude,
            longitude=chosen.longitude,
            init_time=init_time,
            lead_hours=chosen.lead_hours,
            attributes=self.attributes,
            number=member,
            compression=self.compression,
            keep_bits=self.keep_bits,
        )

    def all(self) -> list[Unfinished]:
        """What a run that is not begun lacks."""
        members = self.members if self.layout else ()
        return [Unfinished(time, members, bool(self.product_files)) for time in self.init_times]

    def unfinished(self) -> list[Unfinished]:
        """What is not there yet, by initial time."""
        found = [Unfinished(time, self._missing(time), self._lacks_products(time)) for time in self.init_times]
        return [each for each in found if each.members or each.products]

    def is_exported(self, init_time: np.datetime64) -> bool:
        """Whether all that is made of the members' files of an initial time is there."""
        combined = self.run / init_name(init_time) / ENSEMBLE_FILE
        return ("ensemble" not in self.layout or combined.exists()) and (
            "zarr" not in self.layout or (self.run / ZARR).exists()
        )

    def _missing(self, init_time: np.datetime64) -> tuple[int, ...]:
        if not self.layout or ("member" not in self.layout and self.is_exported(init_time)):
            return ()
        paths = {member: member_path(self.run, init_time, member) for member in self.members}
        return tuple(m for m, path in paths.items() if not is_finished(path, self.header(init_time, m)))

    def _lacks_products(self, init_time: np.datetime64) -> bool:
        return any(not (self.run / init_name(init_time) / name).exists() for name in self.product_files)


def record(plan: Plan) -> dict[str, Any]:
    """What the manifest says of a run: everything that makes it another than others."""
    return {
        "init_times": [init_name(time) for time in plan.init_times],
        "members": list(plan.members),
        "lead_hours": list(plan.selection.lead_hours),
        "channels": list(plan.selection.channels),
        "latitude": plan.selection.latitude.tolist(),
        "longitude": plan.selection.longitude.tolist(),
        "layout": list(plan.layout),
        "products": list(plan.product_files),
        "exact": plan.exact,
        "attributes": plan.attributes,
    }


def stands(plan: Plan, overwrite: bool) -> bool:
    """Whether the run was begun before; InputError where something else is in its place that must not be replaced.

    The folder is looked into once: other shares of the run may be beginning it.
    """
    names = _names(plan.run)
    if MANIFEST not in names:
        if not all(name.endswith(PARTIAL) for name in names):
            raise InputError(f"{plan.run} is there, is no empty folder and holds no forecast; choose another output=")
        return False
    held, asked = read_json(plan.run / MANIFEST), json.loads(json.dumps(record(plan)))
    if not overwrite and held != asked:
        raise InputError(
            f"{plan.run} holds another forecast ({_difference(held, asked)}); choose another output= or pass "
            "overwrite=true"
        )
    return not overwrite


def _names(folder: Path) -> list[str]:
    """What lies in a folder; its own name where it is a file, nothing where it is not there."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return [folder.name]


def claim(plan: Plan, overwrite: bool) -> None:
    """Write the manifest of a run that does not stand; with ``overwrite``, files of another one go.

    Shares of a run may claim it at the same time, with the same manifest; InputError where another run's is found.
    """
    remove_abandoned(plan.run)
    if overwrite and (plan.run / MANIFEST).exists():
        remove_directory(plan.run)
    if not (plan.run / MANIFEST).exists():
        write_json(plan.run / MANIFEST, record(plan))
    stands(plan, overwrite=False)


def _difference(held: Any, asked: dict[str, Any]) -> str:
    """In what a manifest differs, in words."""
    if not isinstance(held, dict) or not isinstance(held.get("attributes"), dict):
        return "its manifest is no forecast's"
    held, asked = (_flat(content) for content in (held, asked))
    return "another " + ", ".join(key for key in {**asked, **held} if held.get(key) != asked.get(key))


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """The keys of a manifest, of its attributes and, as they are given, of the configuration among these."""
    rest = {key: value for key, value in {**content, **content["attributes"]}.items() if key != "attributes"}
    given = json.loads(rest.pop("configuration", "{}"))
    parts = {f"{key}.{k}": v for key, value in given.items() if isinstance(value, dict) for k, v in value.items()}
    return {**rest, **{key: value for key, value in given.items() if not isinstance(value, dict)}, **parts}


def require_space(plan: Plan, unfinished: Sequence[Unfinished]) -> None:
    """Raise InputError where the disk surely cannot hold what is to be written."""
    chosen = plan.selection
    plain = 4 * len(chosen.lead_hours) * len(chosen.latitude) * len(chosen.longitude)
    of_member = len(chosen.channels) * (32 if plan.keep_bits is None else 9 + plan.keep_bits) / 32
    of_member *= 1 + len({"ensemble", "zarr"} & set(plan.layout))  # these are made while members' files are there
    of_products = 0 if plan.products is None else plan.products.fields
    fields = sum(len(each.members) * of_member + each.products * of_products for each in unfinished)
    least = fields * plain * (LEAST_RATIO if plan.compression else 1)
    free = shutil.disk_usage(_standing(plan.run)).free
    if free < least:
        raise InputError(
            f"{plan.run}: the forecast needs {gigabytes(least)} or more, and the disk has {gigabytes(free)} left; make "
            "room, choose another output=, fewer members, variables= or files.every_hours, or files.keep_bits=12"
        )


def require_writable(run: Path) -> None:
    """Raise InputError where no folder ``run`` can be made or written to."""
    standing = _standing(run)
    if not standing.is_dir():
        raise InputError(f"output={run}: {standing} is a file, not a folder; choose another output=")
    try:
        # A file without a name, or where the disk knows none, of one that is nothing to other shares of the run.
        TemporaryFile(dir=standing, suffix=PARTIAL).close()
    except OSError as error:
        raise InputError(f"output={run}: {standing} cannot be written to ({error}); choose another output=") from error


def _standing(path: Path) -> Path:
    """The longest part of a path that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def require_alike(paths: Sequence[str], cards: Sequence[Card]) -> None:
    """Raise InputError where checkpoints differ in channels, grid or step and cannot share an ensemble."""
    for path, card in zip(paths[1:], cards[1:], strict=True):
        if card.channels != cards[0].channels:
            differ = f"channels {', '.join(card.channels or [])} against {', '.join(cards[0].channels or [])}"
        elif not card.grid.same_as(cards[0].grid):
            differ = f"grid {card.grid} against {cards[0].grid}"
        elif card.step_hours != cards[0].step_hours:
            differ = f"step of {card.step_hours} h against {cards[0].step_hours} h"
        else:
            continue
        raise InputError(f"{path} and {paths[0]} cannot share an ensemble: {differ}; forecast with each by itself")
