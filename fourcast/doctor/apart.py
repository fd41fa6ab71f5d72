"""Checks in processes of their own: a library that crashes takes only its own check with it.

    python -m fourcast.doctor.apart NAME ARGUMENTS-AS-JSON

calls a function of CHECKS and writes what it returns, as JSON, to standard output; whatever libraries print goes to
standard error. One that raises gives {"raised": …} instead.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fourcast.doctor.finding import BreakdownError, described

CHECKS = {
    "output": "fourcast.doctor.places",
    "temporary": "fourcast.doctor.places",
    "speeds": "fourcast.doctor.places",
    "store": "fourcast.doctor.places",
    "cache": "fourcast.doctor.places",
    "libraries": "fourcast.doctor.libraries",
    "torch": "fourcast.doctor.torch_facts",
    "compiled": "fourcast.doctor.compiled",
    "kernels": "fourcast.doctor.kernels",
    "training": "fourcast.doctor.training",
    "exchange": "fourcast.doctor.exchange",
}
"""The function of each name, and the module it lies in."""
LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "OMPI_", "PMI", "MPI_", "SLURM_STEP_"
)  # fmt: skip
"""How the variables begin by which launchers tell a process its peers."""
WORDS = 300
"""Characters of what a process said last."""
DYING = 5.0
"""Seconds in which what is killed ends, unless a driver or disk holds it."""


def apart(name: str, *arguments: Any, seconds: float, environ: Mapping[str, str] | None = None) -> Any:
    """What the check ``name`` returns in a process of its own, which has no peers unless ``environ`` names them.

    Raises BreakdownError where it raises, dies, or takes longer than ``seconds``.
    """
    with memory_file() as out, memory_file() as err:
        process = started(name, arguments, environ or alone(os.environ), out, err)
        try:
            in_time = ended(process, seconds)
        finally:
            end(process)
        show(err)
        if not in_time:
            held = ", and it cannot be killed: a driver or disk holds it" if process.returncode is None else ""
            raise BreakdownError(f"no result after {seconds:.0f} s{held}{last_words(err)}")
        return result_of(process, out, err)


def started(
    name: str, arguments: Any, environ: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> subprocess.Popen[bytes]:
    """The process of a check; in a session of its own, so that all it starts can be ended with it."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [environ.get("PYTHONPATH", ""), root]))
    command = [sys.executable, "-P", "-m", "fourcast.doctor.apart", name, json.dumps(arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**environ, "PYTHONPATH": path},
        start_new_session=True,
    )  # fmt: skip


def memory_file() -> IO[bytes]:
    """A file that takes what a process says; in memory, for there may be no folder that can be written."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("fourcast-doctor"), "w+b")
    return tempfile.TemporaryFile()


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process with a session of its own; one that a driver or disk holds is left behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        ended(process, DYING)


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether ``process`` ends within ``seconds``."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@contextmanager
def orderly_end() -> Iterator[None]:
    """What asks this process to end raises SystemExit, so that processes and folders of checks go with it."""
    asked = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda got, _: sys.exit(128 + got)) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def alone(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what a launcher says of peers, and without Triton's interpreter."""
    return {name: value for name, value in environ.items() if not name.startswith((*LAUNCHERS, "TRITON_INTERPRET"))}


def result_of(process: subprocess.Popen[bytes], out: IO[bytes], err: IO[bytes]) -> Any:
    """What a check that has ended returned; BreakdownError where it did not."""
    status = process.returncode
    if status is None:
        raise BreakdownError(f"the process cannot be killed: a driver or disk holds it{last_words(err)}")
    if text := said(out):
        answer = json.loads(text)
        if "raised" in answer:
            raise BreakdownError(answer["raised"])
        return answer["returned"]
    how = f"died of {_signal(-status)}" if status < 0 else f"ended with status {status}"
    raise BreakdownError(f"the process {how}{last_words(err)}")


def _signal(number: int) -> str:
    meanings = {signal.SIGKILL: " (killed: out of memory?)", signal.SIGILL: " (built for another processor)"}
    return signal.Signals(number).name + meanings.get(signal.Signals(number), "")


def said(file: IO[bytes]) -> str:
    """All that was written to ``file``."""
    file.seek(0)
    return file.read().decode(errors="replace")


def show(err: IO[bytes]) -> None:
    """Under FOURCAST_TRACEBACK, all that a process said."""
    if os.environ.get("FOURCAST_TRACEBACK"):
        print(said(err), end="", file=sys.stderr)


def last_words(err: IO[bytes]) -> str:
    """The last line that a process said, to be appended to a sentence; "" where it said nothing."""
    lines = [line.strip() for line in said(err).splitlines() if line.strip()]
    return f"; it said last: {lines[-1][-WORDS:]}" if lines else ""


def main() -> None:
    """Be that process."""
    name, arguments = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        answer = {"returned": getattr(importlib.import_module(CHECKS[name]), name)(*arguments)}
    except Exception as error:  # told to the process that asked, which knows what to do about it
        if os.environ.get("FOURCAST_TRACEBACK"):
            traceback.print_exc()
        answer = {"raised": described(error)}
    with answers:
        json.dump(answer, answers)
    sys.exit("raised" in answer)


if __name__ == "__main__":
    main()
