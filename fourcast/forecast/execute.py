"""One task of a forecast: members rolled forward together, their files written and their products made as they go."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourcast.forecast.batching import Batch
from fourcast.forecast.netcdf import columns_of, init_name, member_path
from fourcast.forecast.perturb import initial_states
from fourcast.forecast.prepare import Run
from fourcast.forecast.products import Products
from fourcast.forecast.rollout import rollout
from fourcast.forecast.select import Selection
from fourcast.forecast.tasks import Task, team_parts
from fourcast.forecast.writer import BackgroundWriter, FileHandle

Float32 = NDArray[np.float32]
Rows = list[int]
Part = tuple[Rows, Float32]
"""Some of a task's members, by their rows, and their fields [M, C, H, W]."""


def run_task(run: Run, task: Task, writer: BackgroundWriter) -> Iterator[int]:
    """Roll the members of a task forward and write what is asked for; yield their number at every step."""
    leads = {hours: i for i, hours in enumerate(run.plan.selection.lead_hours)}
    files = {member: _open(run, task, member, writer) for member in task.missing}
    shared = _SharedProducts(run, task, writer) if task.team else None
    for step, parts in enumerate(_states(run, task)):
        i_lead = leads.get(step * run.step_hours)
        if i_lead is not None:
            _write_members(run.plan.selection, task, parts, i_lead, files)
            if shared is not None:
                shared.add(i_lead, parts)
        yield len(task.members)
    for file in files.values():
        file.finish()
    if shared is not None:
        shared.finish()


def _open(run: Run, task: Task, member: int, writer: BackgroundWriter) -> FileHandle:
    path = member_path(run.plan.run, task.init_time, member)
    return writer.open(path, run.plan.header(task.init_time, member), columns_of(run.plan.selection.channels))


def _write_members(
    selection: Selection, task: Task, parts: list[Part], i_lead: int, files: dict[int, FileHandle]
) -> None:
    if not files:
        return
    for rows, fields_MCHW in parts:
        for row, fields_CHW in zip(rows, selection.take(fields_MCHW), strict=True):
            if task.members[row] in files:
                files[task.members[row]].write(i_lead, fields_CHW)


def _states(run: Run, task: Task) -> Iterator[list[Part]]:
    """The fields of all members of a task, in parts, at every step.

    Members of one model run together in exact mode, which makes calls of them by itself; else as many of them as share
    the memory.
    """
    chunks = list(_chunks(run, task))
    if not chunks:  # a rank of a team that has more ranks than there are calls
        yield from ([] for _ in range(run.plan.steps + 1))
        return
    for fields in zip(*(_rollout(run, task, rows) for rows in chunks), strict=True):
        yield list(zip(chunks, fields, strict=True))


def _chunks(run: Run, task: Task) -> Iterator[Rows]:
    models = len(run.forecasters)
    for model in range(models):
        rows = [row for row, member in enumerate(task.members) if member % models == model]
        size = len(rows) if run.batching.exact else run.at_once
        yield from (rows[first : first + size] for first in range(0, len(rows), size or 1))


def _rollout(run: Run, task: Task, rows: Rows) -> Iterator[Float32]:
    models, members = len(run.forecasters), tuple(task.members[row] for row in rows)
    forecaster = run.forecasters[members[0] % models]
    ensemble = run.config.ensemble
    batch = Batch(task.init_time, members, tuple(member // models for member in members), ensemble.seed)

    def analysis(time: np.datetime64) -> Float32:
        return forecaster.normalise(run.analyses.read(time))

    start = initial_states(run.perturbation, forecaster, batch, run.batching, analysis)
    states = rollout(forecaster, start, batch, run.plan.steps, run.batching, ensemble.dropout)
    return (fields for _, fields in states)


class _SharedProducts:
    """Products of an initial time whose members a team of ranks shares: one of these, its home, makes them."""

    def __init__(self, run: Run, task: Task, writer: BackgroundWriter) -> None:
        plan = run.plan
        assert plan.products is not None
        self.process = run.process
        self.team = len(task.team)
        self.home = task.team[plan.init_times.index(task.init_time) % self.team]
        self.parts = team_parts(plan.members, run.batching, self.team)
        self.selections = {name: replace(plan.selection, channels=(name,)) for name in plan.products.channels_needed}
        self.products = None
        if self.process.rank == self.home:
            folder = plan.run / init_name(task.init_time)
            self.products = Products(plan.products, plan.header(task.init_time, None), writer, folder)

    def add(self, i_lead: int, parts: list[Part]) -> None:
        """Bring all members' fields together, one channel after the other."""
        for channel, selection in self.selections.items():
            shape = len(selection.latitude), len(selection.longitude)
            own_MHW = np.zeros((max(map(len, self.parts)), *shape), np.float32)
            for rows, fields_MCHW in parts:
                own_MHW[rows] = selection.take(fields_MCHW)[:, 0]
            field_MHW = self._gathered(own_MHW)
            if self.products is not None:
                self.products.add(i_lead, channel, field_MHW)

    def finish(self) -> None:
        if self.products is not None:
            self.products.finish()

    def _gathered(self, own_MHW: Float32) -> Float32:
        """The field of all members in order, where it is at home."""
        if self.team == 1:
            return own_MHW
        fields = self.process.gather(torch.from_numpy(own_MHW), self.home)
        counted = zip(fields, map(len, self.parts), strict=bool(fields))
        return np.concatenate([own_MHW[:0], *(field.numpy()[:count] for field, count in counted)])
