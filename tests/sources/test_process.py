import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.video import VideoSpec
from app.media.limits import DEFAULT_LIMITS
from app.media.pull.messages import Alive, Job, NotOpened, Opened, Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.process import DecoderProcess, Died, News
from app.media.pull.source_url import SourceUrl, source_of
from app.pipeline.pulled_stream import job_of
from tests.builders import make_spec
from tests.unit.media.pull.test_messages import altered

SECRET = "s3cret-Passw0rd"  # noqa: S105
NOBODY = PullParameters(allowed_hosts=("127.0.0.1:1",), allow_private=True)


def job(source: SourceUrl | None = None) -> Job:
    source = source or source_of(f"rtsp://admin:{SECRET}@127.0.0.1:1/street", NOBODY)
    return job_of(source, model=make_spec(), video=VideoSpec(), parameters=NOBODY, limits=DEFAULT_LIMITS)


async def first_news(module: str, source: SourceUrl | None = None) -> News:
    """What a process says first when it is asked to connect."""
    heard: asyncio.Future[News] = asyncio.get_running_loop().create_future()
    process = DecoderProcess(job(source), lambda news: heard.done() or heard.set_result(news), module=module)
    process.connect()
    try:
        async with asyncio.timeout(20):
            return await heard
    finally:
        process.kill()
        await process.gone()


def test_a_source_that_nobody_offers_is_refused() -> None:
    assert asyncio.run(first_news("app.media.pull.child")) == NotOpened(reason=Reason.REFUSED)


def test_a_process_starts_with_no_secret_of_ours_and_may_leave_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_TOKEN", SECRET)

    async def scenario() -> tuple[bytes, str, int]:
        heard = asyncio.Event()
        process = DecoderProcess(job(), lambda _news: heard.set())
        process.connect()
        async with asyncio.timeout(20):
            await heard.wait()
        about = Path(f"/proc/{process.pid}")
        shown = about.joinpath("cmdline").read_bytes() + about.joinpath("environ").read_bytes()
        limits = about.joinpath("limits").read_text(encoding="ascii")
        session = os.getsid(process.pid)
        process.kill()
        await process.gone()
        return shown, limits, session

    shown, limits, session = asyncio.run(scenario())
    assert b"app.media.pull.child" in shown
    assert SECRET.encode() not in shown
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max core file size"] == "0"
    assert rows["Max open files"] == "64"
    assert rows["Max address space"] == str(NOBODY.memory_bytes)
    assert session != os.getsid(0)


@pytest.mark.parametrize(
    "said",
    [
        b"not json",
        altered(slot=7),
        altered(width_px=50_000, height_px=50_000),
        b'["Shed", {"count": 1000000000, "reason": "superseded"}]',
        b'["Job", {}]',
    ],
)
def test_what_a_mad_process_says_is_its_end(said: bytes) -> None:
    source = SourceUrl(scheme="rtsp", path=said.decode())
    assert asyncio.run(first_news("tests.sources.mad_child", source)) == Died(0)


def test_a_process_that_says_something_sensible_is_heard() -> None:
    """Positive control of the mad process: it is not its being another program that ends it."""
    source = SourceUrl(scheme="rtsp", path='["Opened", {"announced_s": 2.0}]')
    assert asyncio.run(first_news("tests.sources.mad_child", source)) == Opened(announced_s=2.0)


def test_an_idle_process_says_that_it_lives() -> None:
    async def scenario() -> News:
        heard: asyncio.Queue[News] = asyncio.Queue()
        process = DecoderProcess(job(), heard.put_nowait)
        try:
            async with asyncio.timeout(20):
                return await heard.get()
        finally:
            process.kill()
            await process.gone()

    assert asyncio.run(scenario()) == Alive(busy_s=0.0)


OWNER = """
import asyncio
from tests.sources.test_process import job
from app.media.pull.process import DecoderProcess
async def main():
    process = DecoderProcess(job(), lambda news: print(process.pid, flush=True))
    process.connect()
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_process_dies_with_its_owner() -> None:
    root = str(Path(__file__).resolve().parents[2])
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}, cwd=root
    )
    with owner:
        assert owner.stdout is not None
        decoder = os.pidfd_open(int(owner.stdout.readline()))
        try:
            owner.send_signal(signal.SIGKILL)
            ready, _, _ = select.select([decoder], [], [], 20)
            assert ready
        finally:
            os.close(decoder)
