"""What `sightline stream` may be asked: arguments only, so that no other command pays for the client."""

import argparse
from pathlib import Path
from typing import Final

URL: Final = "http://127.0.0.1:8000"
MODES: Final = ("every_frame", "latest_frame", "target_fps")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser its four actions."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=URL, help=f"where the service answers; default: {URL}")
    actions = parser.add_subparsers(dest="action", required=True)

    add = actions.add_parser("add", parents=[common], help="open a stream; its id on stdout")
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument("source", nargs="?", metavar="URL", help="a camera for the service to pull, or: push")
    what.add_argument("--push", type=Path, metavar="FILE", help="send this video file, and close the stream")
    what.add_argument("--camera", type=_device, metavar="DEVICE", help="send a camera of this machine: 0, /dev/video0")
    add.add_argument("--label", help="your own word for the stream")
    add.add_argument("--mode", choices=MODES, help="which frames are looked at")
    add.add_argument("--spec", type=Path, metavar="JSON", help="lines, zones, sinks, … as for POST /v1/streams")
    add.add_argument("--realtime", action="store_true", help="with --push: as fast as the file plays")
    add.add_argument("--jsonl", type=Path, metavar="OUT", help="with --push or --camera: one event a line; - is stdout")

    every = actions.add_parser("list", parents=[common], help="the open streams")
    every.add_argument("--json", action="store_true", help="one stream a line as JSON")

    gone = actions.add_parser("rm", parents=[common], help="close a stream; its account on stdout")
    gone.add_argument("stream_id", metavar="ID")

    watch = actions.add_parser("watch", parents=[common], help="the events of a stream until it ends")
    watch.add_argument("stream_id", metavar="ID")
    watch.add_argument("--since", type=_seq, metavar="N", help="the last frame that you have; -1: all; default: now")
    watch.add_argument("--json", action="store_true", help="one event a line as JSON")


def wrong_usage(arguments: argparse.Namespace) -> str | None:
    """What is wrong with arguments that are right one by one."""
    if arguments.action != "add" or arguments.push is not None:
        return None
    if arguments.realtime:
        return "--realtime goes with --push"
    if arguments.jsonl and arguments.camera is None:
        return "--jsonl goes with --push or --camera"
    return None


def _device(text: str) -> int | str:
    """The number of a camera, or its path."""
    return int(text) if text.isdecimal() else text


def _seq(text: str) -> int:
    value = int(text)
    if value < -1:
        raise argparse.ArgumentTypeError("a frame's number, or -1")
    return value
