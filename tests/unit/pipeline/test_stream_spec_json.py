import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analytics.geometry import Polygon, Segment, Space
from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.errors import SnapshotError
from app.core.query import Query
from app.core.video import FrameMode, VideoSpec
from app.delivery.sinks import Kafka, Mqtt, Webhook
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_spec_json import spec_of, spec_text
from app.policy.reconnect import Backoff

FULL = StreamSpec(
    label="gate ü",
    video=VideoSpec(
        mode=FrameMode.TARGET_FPS,
        fps=5.0,
        query=Query(conf=0.4, classes=frozenset({"person", "car"}), roi=(0.1, 0.0, 0.9, 1.0), tile=2),
    ),
    priority=9,
    source="rtsp://camera/1",
    reconnect=Backoff.FAST,
    lines=(Line(name="door", segment=Segment(start=(0.0, 0.5), end=(1.0, 0.5))),),
    zones=(
        Zone(name="hall", polygon=Polygon(corners=((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)), space=Space.PIXELS), dwell_s=3),
    ),
    sinks=(Webhook(url="https://a/b"), Mqtt(broker="main", topic="t"), Kafka(cluster="c", topic="t")),
)


@pytest.mark.parametrize("spec", [StreamSpec(), FULL])
def test_a_spec_comes_back_as_it_was(spec: StreamSpec) -> None:
    assert spec_of(spec_text(spec)) == spec


@given(st.builds(StreamSpec, label=st.text(), priority=st.integers(0, 10), source=st.none() | st.text()))
def test_any_words_come_back_as_they_were(spec: StreamSpec) -> None:
    assert spec_of(spec_text(spec)) == spec


def test_fields_that_an_older_version_did_not_write_take_their_defaults() -> None:
    assert spec_of('{"label": "old"}') == StreamSpec(label="old")


def broken(**changes: object) -> str:
    return json.dumps({**json.loads(spec_text(FULL)), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"label":',
        "[" * 100_000,
        broken(surprise=1),
        broken(label=3),
        broken(priority="9"),
        broken(priority=True),
        broken(reconnect="never"),
        broken(video=None),
        broken(lines=[{"name": "", "segment": {"start": [0, 0], "end": [1, 1]}}]),
        broken(lines=[{"name": "a", "segment": {"start": [0, 0, 0], "end": [1, 1]}}]),
        broken(lines=[{"name": "a"}]),
        broken(sinks=[{"kind": "pigeon", "url": "x"}]),
        broken(sinks=[{"kind": "mqtt", "url": "x"}]),
    ],
)
def test_anything_else_is_a_snapshot_error(text: str) -> None:
    with pytest.raises(SnapshotError):
        spec_of(text)
