"""The configuration of ``fourcast doctor``."""

from dataclasses import dataclass
from typing import Any

from fourcast.checks import as_list, one_of
from fourcast.files import STORE


@dataclass
class DoctorConfig:
    """``fourcast doctor``: find out what works here, what is slow, and what to do about it.

    output: the folder where runs go, whose disk is tried. store: a training store; the speed of reading it is measured
    where it exists. needs: extras that must be installed, as in [grib,report]. device: auto, cpu or cuda; with cuda, a
    machine on which no GPU works fails. quick: only what takes no time: no speed of disks, no library is loaded, no
    kernel compiled, nothing trained. json: one JSON document on standard output instead of the screen.
    """

    output: str = "runs"
    store: str = STORE
    needs: Any = None
    device: str = "auto"
    quick: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        self.needs = [] if self.needs in (None, []) else as_list("needs", self.needs)
