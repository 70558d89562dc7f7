"""What `sightline bench` may be asked: arguments only, so that no other command pays for the client."""

import argparse
import os
from pathlib import Path

from app.command.stream_arguments import URL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser its one question."""
    questions = parser.add_subparsers(dest="question", required=True)
    cameras = questions.add_parser("cameras", help="how many live cameras a running service holds; a number on stdout")
    cameras.add_argument("--url", default=URL, help=f"where the service answers; default: {URL}")
    cameras.add_argument(
        "--slo-p99",
        type=_above_zero,
        default=0.25,
        metavar="SECONDS",
        help="from capture to result, p99; default: 0.25",
    )
    cameras.add_argument("--fps", type=_above_zero, default=15.0, help="frames a second of each camera; default: 15")
    cameras.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH", help="pixels; default: 1280x720")
    cameras.add_argument("--clip", type=Path, metavar="VIDEO", help="its frames, in its own size; default: drawn ones")
    cameras.add_argument("--seconds", type=_above_zero, default=20.0, help="of each trial; default: 20")
    cameras.add_argument("--most", type=_count, default=64, metavar="N", help="cameras to try at the most; default: 64")
    cameras.add_argument(
        "--cores",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="of the service's machine, for the prediction; default: those of this one",
    )
    cameras.add_argument("--json", action="store_true", help="everything that was measured, instead of the number")


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError("a width and a height in pixels, as 1280x720")
    return int(width), int(height)
