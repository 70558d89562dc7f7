"""What `sightline faults` may be asked: arguments only, so that no other command pays for the client."""

import argparse

from app.command.stream_arguments import URL
from app.policy.fault_plan import TABLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser its three actions."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=URL, help=f"where the service answers; default: {URL}")
    actions = parser.add_subparsers(dest="action", required=True)

    inject = actions.add_parser("inject", parents=[common], help="plant a fault; its id on stdout")
    inject.add_argument("kind", choices=[row.kind for row in TABLE])
    inject.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a number of the fault")
    inject.add_argument("--expires", type=float, metavar="SECONDS", help="then it removes itself")

    actions.add_parser("list", parents=[common], help="the planted faults, one a line as JSON")

    clear = actions.add_parser("clear", parents=[common], help="take faults back; without an id all of them")
    clear.add_argument("fault_id", nargs="?", metavar="ID")
