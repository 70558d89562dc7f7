"""What `sightline autoscale` may be asked: arguments only, so that no other command pays for what it needs."""

import argparse
from pathlib import Path

from app.command.stream_arguments import URL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser its three actions."""
    actions = parser.add_subparsers(dest="action", required=True)

    replay = actions.add_parser("replay", help="what the policy makes of a recorded load")
    replay.add_argument("trace", type=Path, metavar="TRACE.csv", help="time_s,running,ordered,qps,vram_used,…")
    replay.add_argument("--set", action="append", default=[], type=_knob, metavar="NAME=NUMBER", help="of the policy")
    replay.add_argument("--min", type=_count, default=1, metavar="N", help="replicas at least")
    replay.add_argument("--max", type=_count, default=8, metavar="N", help="replicas at most")
    replay.add_argument("--first", type=_count, metavar="N", help="replicas at the beginning; default: as recorded")
    replay.add_argument("--start", type=_seconds, default=0.0, metavar="S", help="until an ordered replica runs")
    replay.add_argument(
        "--dry-run", action="store_true", help="decide about the replicas that there were, as if nothing were done"
    )
    replay.add_argument("--all", action="store_true", help="also the decisions that change nothing")
    replay.add_argument("--json", action="store_true", help="each decision with its whole explanation, one a line")
    replay.add_argument("--plot", type=Path, metavar="OUT.svg", help="score, load and replicas as a picture")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=URL, help=f"where the service answers; default: {URL}")
    explain = actions.add_parser("explain", parents=[common], help="the last decision of a running service")
    explain.add_argument("--json", action="store_true", help="as the service tells it")

    record = actions.add_parser("record", parents=[common], help="write down the load of a running service")
    record.add_argument("trace", type=Path, metavar="TRACE.csv")
    record.add_argument("--seconds", type=_seconds, default=600.0, metavar="S", help="then it ends")


def _knob(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError("NAME=NUMBER, such as target_qps=40")
    return name, float(value)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("seconds, 0 or more")
    return value
