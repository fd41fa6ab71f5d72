"""Progress lines."""

import pytest

from fourcast.progress import duration, pace, progress


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
