"""The measuring tool over real connections: what it says of servers whose latencies are known."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from load_tests.http_client import request_bytes
from load_tests.open_loop_account import LateClientError, account_of, believed
from load_tests.open_loop_arrivals import Floats, even, poisson
from load_tests.open_loop_client import Client, Offer, Record, Refusal
from load_tests.open_loop_fleet import fire
from load_tests.queueing_stub import stub
from load_tests.queueing_theory import lindley_s

HOST = "127.0.0.1"
REQUEST = request_bytes("/", b"x" * 200_000, host=HOST)  # more than a socket takes at once
BUSY = b'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-length: 22\r\n\r\n{"code": "overloaded"}'


@pytest.fixture
def once() -> Iterator[Callable[[bytes], int]]:
    """Starts a server that reads one request, gives that answer, and hangs up; its port."""
    listener = socket.create_server((HOST, 0))
    serving: list[threading.Thread] = []

    def serve(answer: bytes) -> None:
        line, _ = listener.accept()
        with line:
            left_bytes = len(REQUEST)
            while left_bytes:
                left_bytes -= len(line.recv(1 << 20))
            line.sendall(answer)

    def start(answer: bytes) -> int:
        serving.append(threading.Thread(target=serve, args=(answer,), daemon=True))
        serving[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for thread in serving:
        thread.join(timeout=10)
    listener.close()


def sent(port: int, count: int, *, longest_s: float = 5.0) -> Record:
    due_s = 0.3 + np.arange(count) * 0.2
    which = np.zeros(count, dtype=np.int64)
    offer = Offer(host=HOST, port=port, requests=[REQUEST], due_s=due_s, which=which, longest_s=longest_s)
    return Client(offer, start_s=time.monotonic()).run()


def added_latency_s(*, seed: int) -> Floats:
    """What one run says beyond the theory, one of each request."""
    due_s = poisson(30.0, 3.0, seed=seed)
    service_s = np.random.default_rng(seed).exponential(0.02, size=len(due_s))
    with stub(service_s) as running:
        record = fire(HOST, running.port, [REQUEST], due_s=due_s, clients=2)
    assert len(record.status) == len(due_s)
    assert set(record.status) == {200}
    return record.latency_s - lindley_s(due_s, service_s)


def test_latencies_are_those_of_one_server_that_takes_them_in_order() -> None:
    """A busy machine may add to one run, or let two requests change places; what the tool adds is in all of them."""
    runs = (added_latency_s(seed=seed) for seed in range(5, 10))
    assert any(added_s.min() > -0.001 and np.median(added_s) < 0.005 for added_s in runs)


def test_a_closed_loop_on_the_same_arrivals_sees_no_waiting() -> None:
    """A positive control: with one connection, and from when it was sent, the queue disappears."""
    due_s = even(100.0, 1.0)  # at twice what the server can
    with stub(np.full(len(due_s), 0.02)) as running:
        closed = fire(HOST, running.port, [REQUEST], due_s=due_s, clients=1, connections=1)
    assert np.median(closed.latency_s) > 2 * np.median(closed.ended_s - closed.sent_s)
    assert np.quantile(closed.latency_s, 0.99) > 0.8


def test_a_refusal_is_told_with_its_code_and_retry_after(once: Callable[[bytes], int]) -> None:
    record = sent(once(BUSY), 1)
    assert record.refusals == {Refusal(503, "overloaded", has_retry_after=True): 1}
    assert account_of(record, slo_s=1.0).typed == 1


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\n\r\n"]
)
def test_half_an_answer_is_none(once: Callable[[bytes], int], answer: bytes) -> None:
    record = sent(once(answer), 1)
    assert record.status.tolist() == [0]
    assert account_of(record, slo_s=1.0).strays == {"0 no code, no Retry-After": 1}


def test_who_never_answers_is_given_up() -> None:
    with stub(np.full(2, 60.0)) as running:
        record = sent(running.port, 2, longest_s=0.5)
    assert record.status.tolist() == [-1, -1]


def test_where_nobody_listens_nothing_is_answered() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    assert sent(port, 2).status.tolist() == [0, 0]


def test_a_client_that_slept_is_not_believed() -> None:
    """A positive control: the start lies half a second back, so that everything is late."""
    which = np.zeros(5, dtype=np.int64)
    with stub(np.zeros(0)) as running:
        offer = Offer(host=HOST, port=running.port, requests=[REQUEST], due_s=np.zeros(5), which=which)
        record = Client(offer, start_s=time.monotonic() - 0.5).run()
    with pytest.raises(LateClientError, match="this run measures the client"):
        believed(account_of(record, slo_s=1.0))
