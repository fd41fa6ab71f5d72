"""What people and machines are shown of findings."""

import pytest

from fourcast.doctor import screen
from fourcast.doctor.finding import STATUSES, Finding, isolated
from fourcast.doctor.screen import Grouped, document, lines, verdict, works

COMMAND = "pip install --force-reinstall 'torch==2.13.*' --index-url https://download.pytorch.org/whl/cu130"
WRONG = Grouped("software", Finding("torch", "failed", "2.13.0+cpu is a build for CPUs " * 8, COMMAND))
FINE = Grouped("software", Finding("python", "ok", "3.12.1"))


def test_every_status_has_a_mark_and_a_colour():
    assert set(screen.MARKS) == set(screen.COLOURS) == set(STATUSES)
    assert len(set(screen.MARKS.values())) == len(STATUSES)
    assert all(len(mark) < screen.MARK for mark in screen.MARKS.values())


def test_lines_fit_the_screen_and_commands_stay_whole():
    shown = lines(WRONG, True, False)
    assert all(len(line) <= screen.WIDTH for line in shown)
    assert shown[0].startswith("software FAIL  torch            2.13.0+cpu is")
    assert shown[1].endswith(" …")
    assert shown[2].startswith(" " * 15 + "> pip install")
    assert any("https://download.pytorch.org/whl/cu130" in line for line in shown)
    assert lines(FINE, False, False) == ["         ok    python           3.12.1"]


def test_colours_change_nothing_but_colours():
    assert lines(FINE, True, True)[0].replace("\x1b[32m", "").replace("\x1b[0m", "") == lines(FINE, True, False)[0]


@pytest.mark.parametrize(
    ("status", "said", "fine"),
    [("ok", "works (2", True), ("absent", "works (2", True), ("poor", "works, though poorly: disk", True),
     ("failed", "does not work yet: disk", False)],
)  # fmt: skip
def test_verdict(status, said, fine):
    found = [FINE, Grouped("disk", Finding("disk", status, "…"))]
    assert verdict(found, 1.0).startswith(said)
    assert works(found) == fine


def test_document_has_the_same_keys_for_every_finding():
    told = document([FINE, WRONG], 1.234)
    assert list(told) == ["schema", "fourcast", "works", "seconds", "findings"]
    assert (told["schema"], told["works"], told["seconds"]) == (1, False, 1.23)
    keys = ["group", "name", "status", "found", "remedy", "figures"]
    assert [list(finding) for finding in told["findings"]] == [keys, keys]
    assert told["findings"][1]["remedy"] == COMMAND


def test_document_has_null_for_what_is_no_number():
    figures = {"error": float("nan"), "ms": float("inf"), "gb_s": 1.5}
    [told] = document([Grouped("kernels", Finding("mixing", "failed", "…", "", figures))], 1.0)["findings"]
    assert told["figures"] == {"error": None, "ms": None, "gb_s": 1.5}


def test_a_check_that_breaks_down_is_a_finding(capsys, monkeypatch):
    def breaks() -> list[Finding]:
        raise ZeroDivisionError("by  zero\nagain")

    monkeypatch.delenv("FOURCAST_TRACEBACK", raising=False)
    [found] = isolated("disk", breaks, "mend it")
    assert found == Finding("disk", "failed", "ZeroDivisionError: by zero again", "mend it")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FOURCAST_TRACEBACK", "1")
    isolated("disk", breaks)
    assert "in breaks" in capsys.readouterr().err
