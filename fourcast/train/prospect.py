"""How far a training is from what was predicted of it, said once after its first steps."""

import time

from fourcast.distributed import Process
from fourcast.progress import duration
from fourcast.train.estimate import TRIAL_UPDATES, Estimate, compare, estimate, gigabytes
from fourcast.train.machine import peak_memory, this_machine
from fourcast.train.prepare import Task

STEPS = 10
"""After how many steps: the first ones make memory, and compile."""


class Prospect:
    """A prediction of memory and time, to be held against a training; of its first process."""

    def __init__(self, task: Task, process: Process) -> None:
        machine = this_machine(task.config.device, task.config.precision, process.world_size, None)
        self.process = process
        self.predicted: Estimate = estimate(task, machine, TRIAL_UPDATES)
        self.steps, self.began = 0, 0.0
        peak, hours = self.predicted.memory.peak, self.predicted.hours
        time_guess = "" if hours is None else f", roughly {duration(3600 * hours)}"
        process.say(f"  predicted: {gigabytes(peak)} of memory{time_guess} (fourcast plan says more)")
        if peak > machine.capacity:
            process.say(f"  this may not fit into {gigabytes(machine.capacity)}; fourcast plan names ways out")

    def step(self) -> None:
        """Call it after every step."""
        self.steps += 1
        if self.steps == 1:
            self.began = time.monotonic()
        if self.steps == STEPS:
            seconds = (time.monotonic() - self.began) / (STEPS - 1)
            self.process.say(f"  {compare(self.predicted, peak_memory(self.process.device), seconds)}")
