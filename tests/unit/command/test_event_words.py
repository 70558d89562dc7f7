import pytest

from app.command.event_words import words
from app.core.result import Event
from tests.unit.contract.events import EVENTS

EXPECTED = [
    "#41 10:00:00.250 2 car",
    "#0 10:00:00.000 error (undecodable)",
    "frames 0 to 4 are not told of (history)",
    "closed: 9 captured, 4 answered, 2 dropped (superseded), 1 in error (undecodable)",
    "#41 10:00:00.250 2 car",
    "#41 car 7 crossed gate forward",
    "#41 car 7 entered yard",
    "#41 car 7 left yard after 0.0 s",
    "#41 car 7 has been in yard for 30.0 s",
    "recovering (lost), try 2",
    "connecting",
]


@pytest.mark.parametrize(("event", "line"), list(zip(EVENTS, EXPECTED, strict=True)), ids=lambda value: str(value)[:20])
def test_each_kind_of_event_has_its_words(event: Event, line: str) -> None:
    assert words(event) == line
