"""An engine in a process of its own: what may happen to that process, and that nothing of it stays."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import InternalError, ModelError, SightlineError, TooLargeError, UnavailableError
from app.core.ports import RawOutput
from app.vision.example import example_picture
from engines.host_messages import Job
from engines.host_process import HostProcess
from engines.hosted import HostedEngine, HostLimits, open_hosted_engine
from tests.contract import mad_host
from tests.contract.census import holdings, rss_bytes
from tests.contract.hosting import LIMITS, MAD, canvas, open_mad, rows_here, seconds_since


@pytest.fixture
def engine() -> Iterator[HostedEngine]:
    with closing(open_mad()) as opened:
        yield opened


def answer_when_back(engine: HostedEngine, *, within_s: float = 20.0) -> RawOutput:
    """The first answer after a restart; until then callers may get nothing but UnavailableError."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        try:
            return engine.infer([canvas()])
        except UnavailableError:
            time.sleep(0.02)
    raise AssertionError("the model did not come back")


def refusal(call: Future[RawOutput]) -> SightlineError:
    error = call.exception(timeout=10)
    assert isinstance(error, SightlineError)
    return error


# ---- answers


def test_the_example_is_seen_as_in_this_process(engine: HostedEngine) -> None:
    pixels = [canvas(), canvas()[:, ::-1]]
    np.testing.assert_array_equal(engine.infer(pixels), rows_here(*pixels))


def test_the_runtime_that_computes_is_known() -> None:
    with closing(open_hosted_engine(None, streams=1, max_batch=1)) as engine:
        assert engine.runtime == "reference"


def test_rows_are_lent_where_they_lie_and_copied_only_for_who_keeps_them() -> None:
    with closing(open_mad(streams=1)) as engine:
        first = engine.infer([canvas()])
        second = engine.infer([canvas()[::-1]])
        assert not first.flags.owndata
        assert second.flags.owndata
        np.testing.assert_array_equal(first, rows_here(canvas()))
        np.testing.assert_array_equal(second, rows_here(canvas()[::-1]))
        view = first[0, :3]
        del first
        engine.infer([canvas()[:, ::-1]])
        np.testing.assert_array_equal(view, rows_here(canvas())[0, :3])
        del view
        assert not engine.infer([canvas()]).flags.owndata


def test_an_engine_that_can_writes_its_rows_where_their_reader_finds_them() -> None:
    pixels = [canvas(), canvas()[:, ::-1]]
    with closing(open_mad(Path("writing"))) as engine:
        np.testing.assert_array_equal(engine.infer(pixels), rows_here(*pixels))
        np.testing.assert_array_equal(engine.infer(pixels[1:]), rows_here(*pixels[1:]))


def test_rows_outlive_the_engine() -> None:
    engine = open_mad()
    rows = engine.infer([canvas()])
    engine.close()
    np.testing.assert_array_equal(rows, rows_here(canvas()))


def test_streams_compute_at_the_same_time_and_hold_up_no_other_thread() -> None:
    with closing(open_mad(streams=4)) as engine, ThreadPoolExecutor(4) as threads:
        begun_s = time.monotonic()
        calls = [threads.submit(engine.infer, [canvas(mad_host.NAP)]) for _ in range(4)]
        turns = 0
        while not all(call.done() for call in calls):
            turns += 1
            time.sleep(0.005)
        assert seconds_since(begun_s) < 3 * mad_host.NAP_S
        assert turns > 10


# ---- errors


def test_an_error_of_ours_arrives_as_it_is_and_ends_nothing(engine: HostedEngine) -> None:
    pid = engine.pid
    with pytest.raises(TooLargeError, match="too large for this test"):
        engine.infer([canvas(mad_host.REFUSE)])
    assert (engine.pid, engine.n_restarts) == (pid, 0)
    np.testing.assert_array_equal(engine.infer([canvas()]), rows_here(canvas()))


def test_another_error_tells_nothing_but_goes_into_our_log(
    engine: HostedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InternalError) as caught:
        engine.infer([canvas(mad_host.RAISE)])
    assert mad_host.SECRET not in str(caught.value)
    engine.close()
    assert any(mad_host.SECRET in record.getMessage() for record in caplog.records)


def test_lines_that_nobody_has_read_when_it_is_to_end_go_into_our_log_too(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(model=None, kind="auto", streams=1, threads_per_stream=1, max_batch=1, memory_bytes=None)
    stop = os.eventfd(0)
    process = HostProcess(job, module=MAD, stop=stop)
    process.load(load_s=20.0)
    with pytest.raises(InternalError):
        process.infer([canvas(mad_host.RAISE)], call_s=5.0)
    os.eventfd_write(stop, 1)
    process.await_end()  # returns at once, and has read nothing
    assert mad_host.SECRET not in caplog.text
    process.end(close_s=5.0)
    assert mad_host.SECRET in caplog.text
    os.close(stop)


def test_rows_of_another_shape_are_an_error_of_the_model(engine: HostedEngine) -> None:
    with pytest.raises(ModelError, match="shape"):
        engine.infer([canvas(mad_host.MISSHAPE)])


# ---- deaths


@pytest.mark.parametrize("end", [mad_host.SEGFAULT, mad_host.EXIT])
def test_a_crash_fails_every_call_in_it_at_once_and_the_model_comes_back(end: int) -> None:
    patient = HostLimits(call_s=30.0, restarts=LIMITS.restarts)
    with closing(open_mad(limits=patient, streams=3)) as engine, ThreadPoolExecutor(3) as threads:
        pid = engine.pid
        waiting = [threads.submit(engine.infer, [canvas(mad_host.HANG)]) for _ in range(2)]
        time.sleep(0.1)
        begun_s = time.monotonic()
        errors = [refusal(call) for call in [*waiting, threads.submit(engine.infer, [canvas(end)])]]
        assert seconds_since(begun_s) < 1.0
        assert {type(error) for error in errors} == {UnavailableError}
        np.testing.assert_array_equal(answer_when_back(engine), rows_here(canvas()))
        assert engine.pid != pid
        assert (engine.n_restarts, engine.is_broken) == (1, False)


def test_a_model_that_is_killed_while_nobody_calls_comes_back(engine: HostedEngine) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    end_s = time.monotonic() + 20
    while engine.n_restarts == 0 and time.monotonic() < end_s:
        time.sleep(0.02)
    assert engine.pid not in {None, pid}
    np.testing.assert_array_equal(engine.infer([canvas()]), rows_here(canvas()))


def test_a_hung_call_and_those_that_wait_behind_it_fail_in_time_and_the_model_comes_back() -> None:
    with closing(open_mad(streams=1)) as engine, ThreadPoolExecutor(3) as threads:
        begun_s = time.monotonic()
        calls = [threads.submit(engine.infer, [canvas(mad_host.HANG)]) for _ in range(3)]
        assert {type(refusal(call)) for call in calls} == {UnavailableError}
        assert LIMITS.call_s <= seconds_since(begun_s) < LIMITS.call_s + 1.0
        np.testing.assert_array_equal(answer_when_back(engine), rows_here(canvas()))


def test_the_model_is_given_up_after_too_many_deaths(engine: HostedEngine) -> None:
    for _ in range(LIMITS.restarts.max_restarts):
        with pytest.raises(UnavailableError):
            engine.infer([canvas(mad_host.EXIT)])
        answer_when_back(engine)
    assert not engine.is_broken
    with pytest.raises(UnavailableError):
        engine.infer([canvas(mad_host.EXIT)])
    assert eventually_broken(engine)
    with pytest.raises(ModelError, match="died more than 2 times"):
        engine.infer([canvas()])
    assert engine.pid is None


def test_a_model_that_cannot_be_loaded_again_is_given_up_too(tmp_path: Path) -> None:
    model = tmp_path / "once"
    model.touch()
    with closing(open_mad(model)) as engine:
        with pytest.raises(UnavailableError):
            engine.infer([canvas(mad_host.EXIT)])
        assert eventually_broken(engine)


def eventually_broken(engine: HostedEngine) -> bool:
    end_s = time.monotonic() + 10
    while not engine.is_broken and time.monotonic() < end_s:
        time.sleep(0.02)
    return engine.is_broken


OWNER = """
import time
from pathlib import Path
from engines.hosted import _begin
from tests.contract.census import holdings
from tests.contract.hosting import LIMITS, MAD
engine = _begin(Path("slow"), limits=LIMITS, module=MAD)
while not (hosts := holdings().children):
    time.sleep(0.01)
(host,) = hosts
while int(Path(f"/proc/{host}/oom_score_adj").read_text()) < 1000:
    time.sleep(0.01)
print(host, flush=True)
time.sleep(60)
"""


def test_the_process_dies_with_its_owner() -> None:
    """Even while it loads, when it listens to nobody."""
    root = str(Path(__file__).resolve().parents[2])
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}, cwd=root
    )
    with owner:
        assert owner.stdout is not None
        host = os.pidfd_open(int(owner.stdout.readline()))
        try:
            owner.send_signal(signal.SIGKILL)
            ready, _, _ = select.select([host], [], [], 20)
            assert ready
        finally:
            os.close(host)


def test_the_process_outlives_the_thread_that_opened_it() -> None:
    with ThreadPoolExecutor(1) as threads:
        engine = threads.submit(open_mad).result()
    with closing(engine):
        time.sleep(0.1)
        np.testing.assert_array_equal(engine.infer([canvas()]), rows_here(canvas()))
        assert engine.n_restarts == 0


# ---- closing


def test_closing_waits_for_a_call_that_runs_and_turns_away_those_that_come() -> None:
    limits = HostLimits(call_s=10.0, close_s=5.0)
    engine = open_mad(limits=limits, streams=1)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(engine.infer, [canvas(mad_host.NAP)])
        time.sleep(0.1)
        engine.close()
        np.testing.assert_array_equal(call.result(), rows_here(canvas(mad_host.NAP)))
    with pytest.raises(UnavailableError, match="closed"):
        engine.infer([canvas()])
    engine.close()


def test_closing_waits_no_longer_than_it_may() -> None:
    limits = HostLimits(call_s=30.0, close_s=0.3)
    engine = open_mad(limits=limits, streams=1)
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(engine.infer, [canvas(mad_host.HANG)]) for _ in range(2)]
        time.sleep(0.1)
        begun_s = time.monotonic()
        engine.close()
        assert seconds_since(begun_s) < 1.3
        assert {type(refusal(call)) for call in calls} == {UnavailableError}


def test_nothing_is_left_of_a_closed_engine() -> None:
    before = holdings()
    engine = open_mad(streams=3)
    rows = engine.infer([canvas()])
    during = holdings()
    assert engine.pid in during.children
    assert during.lanes == before.lanes + 3
    assert during.descriptors != before.descriptors
    assert during.shared == before.shared
    engine.close()
    assert holdings().lanes == before.lanes + 1, "the rows are still there"
    del rows
    assert holdings() == before


def test_memory_comes_back_however_often_an_engine_is_opened() -> None:
    """Twenty times; an engine that is open is seen by the same measure."""
    picture = example_picture(width_px=640, height_px=640)

    def rss_when_open() -> int:
        with closing(open_hosted_engine(None, limits=LIMITS, streams=1, max_batch=8)) as engine:
            engine.infer([picture] * 8)
            return rss_bytes()

    rss_when_open()
    before_bytes = rss_bytes()
    open_bytes = [rss_when_open() for _ in range(20)]
    assert min(open_bytes) - before_bytes > 8 << 20
    assert rss_bytes() - before_bytes < 2 << 20
