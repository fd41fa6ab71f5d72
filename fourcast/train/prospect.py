"""How far a training is from what was predicted of it, said once after its first steps."""

import time
from dataclasses import replace

from fourcast.distributed import Process
from fourcast.memory import peak_memory
from fourcast.progress import duration, gigabytes
from fourcast.train.estimate import TRIAL_UPDATES, Estimate, compare, estimate
from fourcast.train.machine import this_machine
from fourcast.train.prepare import Task, loss_steps

STEPS = 10
"""After how many steps: the first ones make memory, and compile."""


class Prospect:
    """A prediction of memory and time, to be held against a training that begins at step ``start``.

    Of its first process. The first steps are held against the rollout that is trained then, which may be shorter than
    later ones.
    """

    def __init__(self, task: Task, process: Process, start: int) -> None:
        machine = this_machine(task.config.device, task.config.precision, process.world_size, None)
        whole = estimate(task, machine, TRIAL_UPDATES)
        peak, hours = whole.memory.peak, whole.hours
        time_guess = "" if hours is None else f", roughly {duration(3600 * hours)}"
        process.say(f"  predicted: {gigabytes(peak)} of memory{time_guess} (fourcast plan says more)")
        if peak > machine.capacity:
            process.say(f"  this may not fit into {gigabytes(machine.capacity)}; fourcast plan names ways out")
        now = max(stage for stage in task.config.rollout.stages if stage[0] <= start)[1]
        beginning = replace(task, config=replace(task.config, rollout=replace(task.config.rollout, steps=now)))
        shorter = now < loss_steps(task.config)
        self.predicted: Estimate = estimate(beginning, machine, TRIAL_UPDATES) if shorter else whole
        self.process, self.steps, self.began = process, 0, 0.0

    def step(self) -> None:
        """Call it after every step."""
        self.steps += 1
        if self.steps == 1:
            self.began = time.monotonic()
        if self.steps == STEPS:
            seconds = (time.monotonic() - self.began) / (STEPS - 1)
            self.process.say(f"  {compare(self.predicted, peak_memory(self.process.device), seconds)}")
