"""`sightline models`: the versions of a running service listed, loaded and routed."""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from app.client.models import AsyncModels, ModelInfo, VersionInfo
from app.core.errors import DeadlineError, InvalidRequestError, NotFoundError
from app.policy.lifecycle import GONE, USABLE, Phase

_POLL_S: Final = 0.25


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all went well; 1 when a version that is waited for fails."""
    async with AsyncModels(arguments.url) as client:
        match arguments.action:
            case "list":
                _show(await client.all(), as_json=arguments.json)
                return 0
            case "add":
                return await _add(client, arguments)
            case _:
                return await _route(client, arguments)


async def _add(client: AsyncModels, arguments: argparse.Namespace) -> int:
    info = await client.add(
        arguments.model,
        arguments.version,
        sha256=arguments.sha256,
        uri=arguments.uri,
        should_be_warm=not arguments.unload,
    )
    if arguments.wait is not None:
        info = await _settled(client, arguments.model, info, wait_s=arguments.wait)
    print(info.state)
    if info.reason:
        _say(f"{info.version}: {info.reason}")
    return 1 if info.state == Phase.FAILED else 0


async def _settled(client: AsyncModels, model: str, info: VersionInfo, *, wait_s: float) -> VersionInfo:
    """The version once it is WARM or FAILED."""
    until_s = time.monotonic() + wait_s
    while info.state not in USABLE | GONE:
        if time.monotonic() > until_s:
            raise DeadlineError(f"{info.version} is still {info.state} after {wait_s:g} s")
        await asyncio.sleep(_POLL_S)
        info = _version(await client.show(model), info.version)
    return info


async def _route(client: AsyncModels, arguments: argparse.Namespace) -> int:
    routes = {"weights": dict(arguments.weights), "shadow": arguments.shadow}
    if arguments.table is not None:
        routes = _from_file(arguments.table)
    epoch = arguments.epoch
    if epoch is None:
        epoch = (await client.show(arguments.model)).route_epoch
    info = await client.route(arguments.model, routes, epoch=epoch)
    print(info.route_epoch)
    _say(f"{info.model}: {_weights(info)}")
    return 0


def _version(info: ModelInfo, version: str) -> VersionInfo:
    found = next((each for each in info.versions if each.version == version), None)
    if found is None:
        raise NotFoundError(f"{info.model} has no version {version} any more")
    return found


def _show(models: list[ModelInfo], *, as_json: bool) -> None:
    for info in models:
        if as_json:
            print(json.dumps(asdict(info)))
            continue
        print(f"{info.model}  route epoch {info.route_epoch}")
        for one in info.versions:
            judged = one.candidate.words if one.candidate else ""
            why = f"  {one.reason or judged}".rstrip()
            print(f"  {one.version:<12} {one.state:<9} {one.weight:>5.2f}  on {len(one.replicas)} replicas{why}")
    if not models:
        _say("no model is there")


def _weights(info: ModelInfo) -> str:
    return ", ".join(f"{one.version} {one.weight:.2f}" for one in info.versions if one.weight)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise InvalidRequestError(f"{file} holds no JSON object")
    return table


def _say(text: str) -> None:
    print(text, file=sys.stderr)
