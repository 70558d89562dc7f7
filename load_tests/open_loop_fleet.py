"""Several client processes that fire one stretch of load together, and the record of them all."""

import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np

from load_tests.open_loop_arrivals import Floats
from load_tests.open_loop_client import Client, Offer, Record, Refusal
from load_tests.open_loop_clock import go_first

_READY_S = 60.0
_HEAD_START_S = 0.05


def fire(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    due_s: Floats,
    clients: int = 2,
    seed: int = 0,
    connections: int | None = None,
    keep_every: int = 10,
    longest_s: float = 30.0,
) -> Record:
    """Send a request, drawn from `requests`, at each of `due_s` seconds from now on; the record, by time due.

    Client k of n takes the arrivals k, k + n, k + 2n, …: which process one falls to changes nothing about when it is
    due. RuntimeError when a client dies.
    """
    offers = _split(
        host,
        port,
        requests,
        due_s=due_s,
        clients=clients,
        seed=seed,
        connections=connections,
        keep_every=keep_every,
        longest_s=longest_s,
    )
    return merged(_fired(offers))


def fire_beside(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    due_s: Floats,
    clients: int,
    seed: int,
    beside: tuple[bytes, Floats],
) -> tuple[Record, Record]:
    """As `fire`, with a client more that sends another request at times of its own; its record comes second."""
    offers = _split(host, port, requests, due_s=due_s, clients=clients, seed=seed)
    other, other_due_s = beside
    offers += _split(host, port, [other], due_s=other_due_s, clients=1, seed=0)
    records = _fired(offers)
    return merged(records[:-1]), records[-1]


def _split(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    due_s: Floats,
    clients: int,
    seed: int,
    connections: int | None = None,
    keep_every: int = 10,
    longest_s: float = 30.0,
) -> list[Offer]:
    which = np.random.default_rng(seed).integers(len(requests), size=len(due_s))
    return [
        Offer(
            host=host,
            port=port,
            requests=list(requests),
            due_s=due_s[k::clients],
            which=which[k::clients],
            connections=connections,
            keep_every=keep_every,
            longest_s=longest_s,
        )
        for k in range(clients)
    ]


def _fired(offers: Sequence[Offer]) -> list[Record]:
    """Every offer in a process of its own, all from the same moment on; the records in the same order."""
    spawn = multiprocessing.get_context("spawn")  # a fork would take this process's threads and sockets with it
    pipes = [spawn.Pipe() for _ in offers]
    processes = [spawn.Process(target=_client, args=(there,), daemon=True) for _, there in pipes]
    try:
        for process in processes:
            process.start()
        for (here, _), offer in zip(pipes, offers, strict=True):
            here.send(offer)
        for here, _ in pipes:
            _received(here, within_s=_READY_S)
        start_s = time.monotonic() + _HEAD_START_S
        for here, _ in pipes:
            here.send(start_s)
        lasts_s = max((float(offer.due_s[-1]) + offer.longest_s for offer in offers if len(offer.due_s)), default=0.0)
        return [_received(here, within_s=lasts_s + _READY_S) for here, _ in pipes]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def merged(records: Sequence[Record]) -> Record:
    """One record of several, in order of what was due."""
    due_s = np.concatenate([record.due_s for record in records])
    order = np.argsort(due_s, kind="stable")
    return Record(
        due_s=due_s[order],
        taken_s=np.concatenate([record.taken_s for record in records])[order],
        sent_s=np.concatenate([record.sent_s for record in records])[order],
        ended_s=np.concatenate([record.ended_s for record in records])[order],
        status=np.concatenate([record.status for record in records])[order],
        refusals=sum((record.refusals for record in records), Counter[Refusal]()),
        bodies=[body for record in records for body in record.bodies],
        cpu_s=[seconds for record in records for seconds in record.cpu_s],
        elapsed_s=max(record.elapsed_s for record in records),
    )


def _client(pipe: Connection) -> None:
    """A client process: an offer in, ready out, the start in, the record out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    go_first()
    offer: Offer = pipe.recv()
    pipe.send("ready")
    pipe.send(Client(offer, start_s=pipe.recv()).run())


def _received(pipe: Connection, *, within_s: float) -> "Record":
    if not pipe.poll(within_s):
        raise RuntimeError("a client process does not answer")
    try:
        record: Record = pipe.recv()
    except EOFError:
        raise RuntimeError("a client process died") from None
    return record
