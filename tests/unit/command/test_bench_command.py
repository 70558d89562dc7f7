"""`sightline bench cameras` refuses wrong numbers before anything is opened, and draws pictures that can be sent."""

import argparse

import numpy as np
import pytest

from app.command.bench_arguments import add_arguments
from app.command.bench_cameras import PICTURES, drawn
from app.core.frame import EncodedFrame, FrameRef
from app.media.still import decode_still


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["cameras", *words])


def test_the_defaults_are_those_that_the_help_names() -> None:
    given = parsed()
    assert (given.slo_p99, given.fps, given.size, given.seconds, given.most) == (0.25, 15.0, (1280, 720), 20.0, 64)


def test_a_size_is_a_width_and_a_height() -> None:
    assert parsed("--size", "640x360").size == (640, 360)


@pytest.mark.parametrize(
    "words",
    [("--size", "640"), ("--size", "0x4"), ("--fps", "0"), ("--slo-p99", "inf"), ("--most", "0"), ("--seconds", "-1")],
)
def test_wrong_usage_ends_with_2(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2


def test_drawn_pictures_move_and_have_the_size_asked_for() -> None:
    pictures = drawn(160, 96)
    assert len(set(pictures)) == PICTURES
    encoded = EncodedFrame(data=pictures[0], ref=FrameRef(stream_id="s", seq=0))
    frame = decode_still(encoded, model_width_px=416, model_height_px=416)
    assert frame.rgb.shape == (96, 160, 3)
    assert np.ptp(frame.rgb) > 100
