"""`sightline faults`: faults planted in a running service, listed and taken back."""

import argparse
import json
import sys
from typing import Any, Final

from app.client.calls import HttpCalls
from app.client.sightline import TIMEOUT_S
from app.core.errors import InvalidParameterError

_FAULTS: Final = "/v1/admin/faults"


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all went well."""
    calls = HttpCalls(arguments.url, headers={}, timeout_s=TIMEOUT_S)
    try:
        match arguments.action:
            case "inject":
                planted = await calls.json("POST", _FAULTS, given=_body(arguments), is_repeatable=False)
                print(planted["fault_id"])
                _say(f"planted for {planted['expires_in_s']:g} s")
            case "list":
                for planted in await calls.json("GET", _FAULTS):
                    print(json.dumps(planted))
            case _:
                await _clear(calls, arguments.fault_id)
    finally:
        await calls.close()
    return 0


async def _clear(calls: HttpCalls, fault_id: str | None) -> None:
    ids = [one["fault_id"] for one in await calls.json("GET", _FAULTS)] if fault_id is None else [fault_id]
    for one in ids:
        await calls.json("DELETE", f"{_FAULTS}/{one}", is_repeatable=False)
    _say(f"{len(ids)} taken back")


def _body(arguments: argparse.Namespace) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": arguments.kind}
    for given in arguments.set:
        name, _, number = given.partition("=")
        try:
            fault[name] = json.loads(number)
        except ValueError:
            raise InvalidParameterError(f"--set {given}: a name, = and a number") from None
    return {"fault": fault} | ({} if arguments.expires is None else {"expires_s": arguments.expires})


def _say(text: str) -> None:
    print(text, file=sys.stderr)
