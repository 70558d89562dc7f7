"""What `sightline models` may be asked: arguments only, so that no other command pays for the client."""

import argparse
from pathlib import Path
from typing import Final

URL: Final = "http://127.0.0.1:8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser its three actions."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=URL, help=f"where the service answers; default: {URL}")
    actions = parser.add_subparsers(dest="action", required=True)

    every = actions.add_parser("list", parents=[common], help="the models, their versions and routes")
    every.add_argument("--json", action="store_true", help="one model a line as JSON")

    add = actions.add_parser("add", parents=[common], help="load a version beside those that answer")
    add.add_argument("model", metavar="MODEL")
    add.add_argument("version", metavar="X.Y.Z")
    add.add_argument("--sha256", required=True, help="of its model.onnx")
    add.add_argument("--uri", default="", help="its name in the store, MODEL/X.Y.Z, which is the default")
    add.add_argument("--unload", action="store_true", help="instead: no replica shall have it")
    add.add_argument("--wait", type=_seconds, metavar="S", help="until it is WARM, for at most so many seconds")

    route = actions.add_parser("route", parents=[common], help="change which versions answer, all at once")
    route.add_argument("model", metavar="MODEL")
    route.add_argument("weights", nargs="*", type=_weight, metavar="X.Y.Z=SHARE", help="in steps of 0.01, 1 together")
    route.add_argument("--shadow", metavar="X.Y.Z", help="this version sees what the others answer")
    route.add_argument("--table", type=Path, metavar="JSON", help="the whole table, as for PUT /v1/models/{m}/routes")
    route.add_argument("--epoch", type=int, metavar="N", help="the table to be replaced; default: the present one")


def wrong_usage(arguments: argparse.Namespace) -> str | None:
    """What is wrong with arguments that are right one by one."""
    if arguments.action == "add" and arguments.unload and arguments.wait is not None:
        return "--wait goes with loading"
    if arguments.action != "route":
        return None
    if (arguments.table is None) == (not arguments.weights):
        return "give the weights, or --table: one of them"
    if arguments.table is not None and arguments.shadow is not None:
        return "with --table the shadow stands in the file"
    versions = [version for version, _ in arguments.weights]
    return "each version once" if len(set(versions)) != len(versions) else None


def _weight(text: str) -> tuple[str, float]:
    version, sign, share = text.partition("=")
    if not (version and sign):
        raise argparse.ArgumentTypeError("VERSION=SHARE, such as 2.1.0=0.05")
    return version, float(share)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("seconds above 0")
    return value
