"""Loading in a process of its own: what may go wrong with it, and that nobody is held up."""

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelError
from app.core.ports import RawOutput
from engines.hosted import HostLimits, open_hosted
from tests.contract import mad_host
from tests.contract.census import holdings
from tests.contract.hosting import LIMITS, MAD, canvas, open_mad, rows_here, seconds_since


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crash", "killed by SIGSEGV"),
        ("fail", "the log says why"),
        ("refuse", "this model is refused"),
        ("hungry", "more memory"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why_and_leaves_nothing(name: str, words: str) -> None:
    before = holdings()
    limits = HostLimits(load_s=20.0, memory_bytes=4 << 30)
    with pytest.raises(ModelError, match=words) as caught:
        open_mad(Path(name), limits=limits)
    assert mad_host.SECRET not in str(caught.value)
    assert holdings() == before


def test_a_model_that_loads_for_too_long_is_given_up_in_time() -> None:
    before = holdings()
    begun_s = time.monotonic()
    with pytest.raises(ModelError, match=r"longer than 0\.5 s"):
        open_mad(Path("slow"), limits=HostLimits(load_s=0.5))
    assert seconds_since(begun_s) < 1.5
    assert holdings() == before


def test_loading_leaves_the_event_loop_free_and_ends_when_nobody_waits_any_more() -> None:
    async def scenario() -> int:
        loading = asyncio.create_task(open_hosted(Path("slow"), module=MAD, streams=1))
        turns = 0
        for _ in range(50):
            await asyncio.sleep(0.01)
            turns += 1
        assert not loading.done()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        return turns

    before = holdings()
    begun_s = time.monotonic()
    assert asyncio.run(scenario()) == 50
    assert seconds_since(begun_s) < 2.0
    assert holdings() == before


def test_an_engine_opened_from_an_event_loop_answers() -> None:
    async def scenario() -> RawOutput:
        with closing(await open_hosted(Path("leisurely"), module=MAD, streams=1)) as engine:
            return await asyncio.to_thread(engine.infer, [canvas()])

    np.testing.assert_array_equal(asyncio.run(scenario()), rows_here(canvas()))


def test_what_the_process_logs_stands_in_our_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    open_mad(Path("talk")).close()
    told = [record.getMessage() for record in caplog.records]
    assert any("a word from the model's process" in line for line in told)
    assert any("is ready" in line for line in told)


def test_the_process_has_no_secret_of_ours_and_only_the_devices_that_we_may_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUR_TOKEN", mad_host.SECRET)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with closing(open_mad()) as engine:
        assert engine.pid is not None
        about = Path(f"/proc/{engine.pid}")
        shown = about.joinpath("cmdline").read_bytes() + about.joinpath("environ").read_bytes()
        limits = about.joinpath("limits").read_text(encoding="ascii")
        assert os.getsid(engine.pid) != os.getsid(0)
        assert about.joinpath("fd/0").readlink() == Path(os.devnull)
    assert mad_host.SECRET.encode() not in shown
    assert b"CUDA_VISIBLE_DEVICES=3\0" in shown
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max core file size"] == "0"


_USUAL = (os.SCHED_OTHER, 0)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a class alone takes CAP_SYS_NICE to be left")
def test_the_process_loads_in_the_background_and_is_called_back_with_all_its_threads() -> None:
    seen = set()
    others = holdings().children
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(open_mad, Path("leisurely"), limits=HostLimits(patience_s=20.0))
        while not opening.done():
            seen |= {_urgency(child) for child in holdings().children - others}
            time.sleep(0.01)
    with closing(opening.result()) as engine:
        engine.infer([canvas()])
        assert engine.pid is not None
        now = {_urgency(int(task.name)) for task in Path(f"/proc/{engine.pid}/task").iterdir()}
    assert seen - {None, _USUAL}
    assert now == {_USUAL}


def test_a_model_that_finds_no_free_core_is_called_back_when_patience_ends() -> None:
    others = holdings().children
    limits = HostLimits(load_s=2.0, patience_s=0.5)
    with ThreadPoolExecutor(1) as threads:
        begun_s = time.monotonic()
        opening = threads.submit(open_mad, Path("slow"), limits=limits)
        while seconds_since(begun_s) < 1.5:
            seen = {_urgency(child) for child in holdings().children - others}
            time.sleep(0.05)
        with pytest.raises(ModelError, match="longer than 2 s"):
            opening.result()
    assert seen == {_USUAL}


def test_a_process_that_comes_back_is_in_a_hurry() -> None:
    limits = replace(LIMITS, patience_s=20.0)
    with closing(open_mad(limits=limits)) as engine:
        first = engine.pid
        assert first is not None
        others = holdings().children - {first}
        os.kill(first, signal.SIGKILL)
        seen = set()
        while engine.n_restarts == 0:
            seen |= {_urgency(child) for child in holdings().children - others - {first}}
            time.sleep(0.005)
    assert seen - {None} == {_USUAL}


def _urgency(pid: int) -> tuple[int, int] | None:
    """The scheduling class, and the nice value of the session's group where the kernel has such; None: it has ended."""
    try:
        group = Path(f"/proc/{pid}/autogroup")
        nice = int(group.read_text(encoding="ascii").split()[-1]) if group.exists() else 0
        return os.sched_getscheduler(pid), nice
    except OSError:
        return None
