"""A profile of a few steps, on request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule, supported_activities

from fourcast.files import whole_file

FIRST = 3
"""Steps that are let pass: the first ones make memory and compile."""


@contextmanager
def profiled(folder: Path, steps: int) -> Iterator[Callable[[], None]]:
    """Yield what is to be called after every step; ``steps`` of them, after the first three, go into a profile.

    ``folder`` then holds trace.json, for chrome://tracing or Perfetto, and operators.txt. With 0 steps nothing happens.
    """
    if steps == 0:
        yield lambda: None
        return

    def write(profiler: profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        on_gpu = ProfilerActivity.CUDA in supported_activities()
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        with whole_file(folder / "operators.txt") as file:
            table = profiler.key_averages().table(sort_by=order, row_limit=60)
            file.write_text(table + "\n", encoding="utf-8")
        with whole_file(folder / "trace.json") as file:
            profiler.export_chrome_trace(str(file))

    wanted = schedule(wait=FIRST - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=supported_activities(), schedule=wanted, on_trace_ready=write) as profiler:
        yield profiler.step
