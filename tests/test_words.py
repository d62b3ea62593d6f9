"""How numbers are put: rounded, and never to a unit's end or to what is not so."""

import pytest

from brainjax.report import tables, words


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.005, "< 1 %"), (0.0051, "1 %"), (0.9949, "99 %"), (0.995, "> 99 %")]
    + [(0.93, "93 %"), (1e-9, "< 1 %"), (1 - 1e-9, "> 99 %"), (1.0, "100 %")],
)
def test_no_share_is_rounded_to_nothing_or_to_all(share, text):
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text", "duration"),
    [(0.4, "0.4 s", "0 s"), (59.4, "59 s", "59 s"), (59.7, "1 min 0 s", "1.0 min")]
    + [(200.4, "3 min 20 s", "3.3 min"), (3599.0, "59 min 59 s", "1.0 h")],
)
def test_sixty_seconds_are_a_minute_and_sixty_minutes_an_hour(value, text, duration):
    assert words.seconds(value) == text
    assert tables.duration(value) == duration
