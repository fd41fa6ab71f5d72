"""Progress lines."""

import pytest

from fourcast.progress import StatusLine, duration, pace, progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (42, "42 s"), (61, "1 min 01 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (90000, "25 h 00 min")],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_items_pass_and_the_last_one_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "  letters 3/3, took 0 s\n"
    assert list(progress([], 0, "nothing")) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(123.4, "123 a second"), (1.25, "1.2 a second"), (0.5, "30 a minute"), (0.001, "3.6 an hour")],
)
def test_paces_as_people_say_them(per_second: float, text: str) -> None:
    assert pace(per_second) == text
    assert pace(per_second, "steps").split(" ", 1)[1] == f"steps {text.split(' ', 1)[1]}"


def test_on_a_terminal_what_is_said_stands_above_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "8")
    line = StatusLine()
    line.show("half way and more")
    line.say("a word")
    line.end("done")
    # A carriage return and "erase to the end of the line" before each; the line never reaches the eighth column.
    assert capsys.readouterr().err == "\r\033[Khalf wa\r\033[Ka word\nhalf wa\r\033[Kdone\n"


def test_in_a_file_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for _ in progress(range(40), 40, "letters"):
        now[0] += 1.0
    assert capsys.readouterr().err == (
        "  letters 15/40 (37 %), 1 a second, 25 s left\n"
        "  letters 30/40 (75 %), 1 a second, 10 s left\n"
        "  letters 40/40, took 40 s\n"
    )
