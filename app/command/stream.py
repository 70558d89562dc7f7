"""`sightline stream`: live streams of a running service, opened, listed, closed and watched through the client."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tqdm import tqdm

from app.client import AsyncSightline, AsyncStream, Camera
from app.client.clip import Clip
from app.client.sightline import StreamInfo
from app.command.event_words import account, words
from app.contract.events import to_json
from app.core.errors import InvalidRequestError
from app.core.result import FrameResult, Summary
from app.policy.session import SessionState

T = TypeVar("T")


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all went well."""
    async with AsyncSightline(arguments.url) as client:
        match arguments.action:
            case "add" if arguments.push is not None:
                return await _push(client, arguments)
            case "add" if arguments.camera is not None:
                return await _film(client, arguments)
            case "add":
                info = await client.create(source=arguments.source, **_spec(arguments))
                print(info.stream_id)
                _say(f"opened; its events: sightline stream watch {info.stream_id}")
            case "list":
                _show(await client.streams(), as_json=arguments.json)
            case "rm":
                summary = await client.close_stream(arguments.stream_id)
                print(to_json(summary).decode())
                _say(f"closed: {account(summary)}")
            case _:
                await _watch(client, arguments)
    return 0


async def _push(client: AsyncSightline, arguments: argparse.Namespace) -> int:
    """Exit code 0 when every frame of the file was answered or dropped."""
    file: Path = arguments.push
    with Clip(file) as clip:
        count = clip.open()  # before a stream is opened for something that is no video
    sent, summary = await _sending(
        client,
        arguments,
        lambda stream: stream.send_file(file, is_realtime=arguments.realtime),
        spec=_spec(arguments),
        name=file.name,
        count=count,
    )
    if sent.damaged:
        _say(f"sightline: {sent.damaged} frames of the file are damaged and were not sent")
    if sent.error is not None:
        _say(f"sightline: the file broke off: {sent.error.detail}")
    return 1 if sent.damaged or sent.error or summary.errors else 0


async def _film(client: AsyncSightline, arguments: argparse.Namespace) -> int:
    """Exit code 0 when Ctrl-C ended it and every frame was answered or dropped."""
    camera = Camera(arguments.camera)
    await asyncio.to_thread(camera.open)  # before a stream is opened for a camera that is not there
    with camera, _at_interrupt(camera.stop):
        sent, summary = await _sending(
            client,
            arguments,
            lambda stream: stream.send_camera(camera),
            spec={"mode": "latest_frame", **_spec(arguments)},
            name=f"camera {arguments.camera}",
            count=None,
        )
    if sent.error is not None:
        _say(f"sightline: {sent.error.detail}")
    return 1 if sent.error or summary.errors else 0


async def _sending(
    client: AsyncSightline,
    arguments: argparse.Namespace,
    send: Callable[[AsyncStream], Awaitable[T]],
    *,
    spec: dict[str, Any],
    name: str,
    count: int | None,
) -> tuple[T, Summary]:
    """Open a stream, send into it and close it, with a bar on stderr; what was sent, and the account."""
    with ExitStack() as stack:
        lines = stack.enter_context(_open_lines(arguments.jsonl)) if arguments.jsonl else None
        bar = stack.enter_context(tqdm(total=count, unit="frame", desc=name, file=sys.stderr))

        def tell(state: SessionState) -> None:
            bar.set_postfix_str("" if state is SessionState.STREAMING else state)

        async def send_all(stream: AsyncStream) -> tuple[T, Summary]:
            sent = await send(stream)
            return sent, await stream.finish()

        async with await client.open(on_state=tell, **spec) as stream:
            (sent, summary), _ = await asyncio.gather(send_all(stream), _record(stream, bar, lines))
    _say(account(summary))
    return sent, summary


@contextmanager
def _at_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls `stop` and breaks nothing off, where the system has such a thing."""
    loop = asyncio.get_running_loop()

    def stop_once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    try:
        loop.add_signal_handler(signal.SIGINT, stop_once)
    except (NotImplementedError, RuntimeError):  # Windows; a thread that is not the main one
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _record(stream: AsyncStream, bar: "tqdm[Any]", lines: BinaryIO | None) -> None:
    async for event in stream.events():
        if lines is not None:
            lines.write(to_json(event) + b"\n")
        if isinstance(event, FrameResult):
            bar.update()


async def _watch(client: AsyncSightline, arguments: argparse.Namespace) -> None:
    def tell(state: SessionState) -> None:
        if state is SessionState.RECOVERING:
            _say("the connection is gone; trying again")

    async with await client.watch(arguments.stream_id, since=arguments.since, on_state=tell) as stream:
        async for event in stream.events():
            print(to_json(event).decode() if arguments.json else words(event), flush=True)


def _spec(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {"label": arguments.label, "mode": arguments.mode}
    return {**_from_file(arguments.spec), **{name: value for name, value in given.items() if value is not None}}


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        spec = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        spec = None
    if not isinstance(spec, dict):
        raise InvalidRequestError(f"{file} holds no JSON object")
    return spec


def _show(streams: list[StreamInfo], *, as_json: bool) -> None:
    for info in streams:
        if as_json:
            print(json.dumps(asdict(info)))
        else:
            lost = sum(info.dropped.values()), sum(info.errors.values())
            named = info.label or info.source
            counts = f"{info.captured:>9} captured {lost[0]:>7} dropped {lost[1]:>7} in error"
            print(f"{info.stream_id}  {info.state:<10} {info.answers_per_s:>7.1f} fps {counts}  {named}")
    if not streams:
        _say("no stream is open")


def _open_lines(target: Path) -> AbstractContextManager[BinaryIO]:
    if str(target) == "-":
        return nullcontext(sys.stdout.buffer)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
