import asyncio
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from app.delivery.carrier import Parcel, Receipt, Refused, Unreachable
from app.delivery.outbox_rows import DeadReason
from app.delivery.signature import HEADER, verify
from app.delivery.webhook import WebhookCarrier, seconds_asked
from app.media.fetch_guard import FetchParameters
from tests.contract.delivery_places import ListGuard
from tests.servers.receiver import Receiver, receiving
from tests.unit.delivery.parcels import events
from tests.unit.media.web import certificate

KEY = b"a key of the tests"
UNREACHABLE = Receipt(taken=0, failure=Unreachable())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving([KEY]) as running:
        yield running


def parcel(*seqs: int) -> Parcel:
    return Parcel(address="", stream_id="s", events=tuple(events("s", *seqs)))


def carrying(
    folder: Path,
    url: str,
    scenario: Callable[[WebhookCarrier], Awaitable[Any]],
    *,
    keys: tuple[bytes, ...] = (KEY,),
    addresses: tuple[str, ...] = ("127.0.0.1",),
    allow_private: bool = True,
    **options: Any,
) -> Any:
    """The scenario with a carrier to `url`, whose host resolves to `addresses`."""
    files = [folder / f"key-{index}" for index in range(len(keys))]
    for file, key in zip(files, keys, strict=True):
        file.write_bytes(key)
    allowed = FetchParameters(allowed_hosts=("*.test", "127.0.0.1"), allow_private=allow_private)

    async def run() -> Any:
        carrier = WebhookCarrier(
            url,
            key_files=files,
            guard=ListGuard(allowed, resolve=lambda _host, _port: addresses),
            max_connections=4,
            **({"timeout_s": 5.0} | options),
        )
        try:
            return await scenario(carrier)
        finally:
            await carrier.close()

    return asyncio.run(run())


def delivered(folder: Path, receiver: Receiver, *, host: str = "127.0.0.1", **options: Any) -> Receipt:
    receipt: Receipt = carrying(
        folder, f"http://{host}:{receiver.port}/hook?a=b", lambda carrier: carrier.deliver(parcel(0, 1, 2)), **options
    )
    return receipt


def test_a_parcel_is_one_signed_post_with_a_line_for_each_event(tmp_path: Path, receiver: Receiver) -> None:
    assert delivered(tmp_path, receiver, host="hook.test") == Receipt(taken=3)
    assert receiver.lines == [told.body for told in events("s", 0, 1, 2)]
    [headers] = receiver.posts
    assert headers["content-type"] == "application/x-ndjson"
    assert headers["host"] == f"hook.test:{receiver.port}"
    assert set(headers) == {
        "host",
        "user-agent",
        "content-type",
        "content-length",
        "idempotency-key",
        HEADER.lower(),
    }


def test_the_same_events_have_the_same_idempotency_key_and_others_another(tmp_path: Path, receiver: Receiver) -> None:
    async def scenario(carrier: WebhookCarrier) -> None:
        for offered in (parcel(0, 1), parcel(0, 1), parcel(0), parcel(0, 1, 2)):
            await carrier.deliver(offered)

    carrying(tmp_path, f"http://127.0.0.1:{receiver.port}/", scenario)
    first, again, *others = [headers["idempotency-key"] for headers in receiver.posts]
    assert first == again
    assert len({first, *others}) == 3


def test_a_connection_is_used_again(tmp_path: Path, receiver: Receiver) -> None:
    threads = set()

    def answer(_: bytes) -> tuple[int, dict[str, str]]:
        threads.add(threading.get_ident())
        return 200, {}

    async def scenario(carrier: WebhookCarrier) -> None:
        for _ in range(5):
            await carrier.deliver(parcel(0))

    receiver.answer = answer
    carrying(tmp_path, f"http://127.0.0.1:{receiver.port}/", scenario)
    assert len(threads) == 1, "the receiver has a thread for each connection"


def test_while_keys_are_changed_either_key_verifies_and_a_new_file_counts_at_once(
    tmp_path: Path, receiver: Receiver
) -> None:
    async def scenario(carrier: WebhookCarrier) -> None:
        assert await carrier.deliver(parcel(0)) == Receipt(taken=1)
        (tmp_path / "key-0").write_bytes(b"another")
        (tmp_path / "key-1").write_bytes(b"and another")
        assert (await carrier.deliver(parcel(1))).failure == Refused(among=1)
        (tmp_path / "key-1").unlink()
        assert await carrier.deliver(parcel(1)) == UNREACHABLE

    carrying(tmp_path, f"http://127.0.0.1:{receiver.port}/", scenario, keys=(b"the next key", KEY))
    signature, body = receiver.posts[0][HEADER.lower()], b"".join(told.body + b"\n" for told in events("s", 0))
    for key in (KEY, b"the next key"):
        assert verify(signature, body, keys=[key], now_s=time.time())


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, None),
        (299, None),
        (307, Refused(among=3)),
        (400, Refused(among=3)),
        (401, Refused(among=3)),
        (404, Refused(among=3)),
        (410, Refused(among=3)),
        (413, Refused(reason=DeadReason.TOO_LARGE, among=3)),
        (408, Unreachable()),
        (425, Unreachable()),
        (429, Unreachable()),
        (500, Unreachable()),
        (503, Unreachable()),
    ],
)
def test_each_answer_means_what_it_says(
    tmp_path: Path, receiver: Receiver, status: int, failure: Refused | Unreachable | None
) -> None:
    receiver.answer = lambda _: (status, {"location": f"http://127.0.0.1:{receiver.port}/elsewhere"})
    assert delivered(tmp_path, receiver) == Receipt(taken=3 * (failure is None), failure=failure)
    assert len(receiver.posts) == 1, "a redirect is not followed"


def test_the_wait_that_is_asked_for_is_passed_on(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda _: (429, {"retry-after": "7"})
    assert delivered(tmp_path, receiver) == Receipt(taken=0, failure=Unreachable(retry_after_s=7.0))


@pytest.mark.parametrize(
    ("value", "asked_s"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        (formatdate(1060, usegmt=True), 60.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("Fri, 99 Foo 0000 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, asked_s: float | None) -> None:
    assert seconds_asked(value, now_s=1000.0) == asked_s


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_into_this_network_is_not_spoken_to(tmp_path: Path, receiver: Receiver, address: str) -> None:
    receipt = delivered(tmp_path, receiver, host="hook.test", addresses=(address,), allow_private=False)
    assert receipt == Receipt(taken=0, failure=Refused(among=3))
    assert receiver.posts == []


def test_a_name_is_resolved_once_for_each_connection_and_that_address_is_the_one_spoken_to(
    tmp_path: Path, receiver: Receiver
) -> None:
    asked = []

    class Rebinding(ListGuard):
        """Resolves to the receiver at first; whoever asks again is led astray."""

        def addresses(self, host: str, port: int) -> list[str]:
            asked.append((host, port))
            return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    (tmp_path / "key").write_bytes(KEY)

    async def run() -> Receipt:
        guard = Rebinding(FetchParameters(), resolve=lambda _host, _port: [])
        carrier = WebhookCarrier(
            f"http://hook.test:{receiver.port}/",
            key_files=[tmp_path / "key"],
            guard=guard,
            max_connections=1,
            timeout_s=5.0,
        )
        try:
            return await carrier.deliver(parcel(0))
        finally:
            await carrier.close()

    assert asyncio.run(run()) == Receipt(taken=1)
    assert asked == [("hook.test", receiver.port)]


def test_the_next_address_is_tried_when_one_does_not_answer(tmp_path: Path, receiver: Receiver) -> None:
    assert delivered(tmp_path, receiver, host="hook.test", addresses=("127.0.0.2", "127.0.0.1")) == Receipt(taken=3)


def test_nobody_there_and_no_such_name_are_worth_another_try(tmp_path: Path) -> None:
    with receiving([KEY]) as gone:
        pass
    assert delivered(tmp_path, gone) == UNREACHABLE

    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such host")

    (tmp_path / "key").write_bytes(KEY)

    async def run() -> Receipt:
        guard = ListGuard(FetchParameters(allowed_hosts=("hook.test",)), resolve=unknown)
        carrier = WebhookCarrier(
            "http://hook.test/", key_files=[tmp_path / "key"], guard=guard, max_connections=1, timeout_s=5.0
        )
        return await carrier.deliver(parcel(0))

    assert asyncio.run(run()) == UNREACHABLE


def test_a_receiver_that_does_not_answer_costs_its_time_out_and_no_more(tmp_path: Path, receiver: Receiver) -> None:
    is_over = threading.Event()

    def answer(_: bytes) -> tuple[int, dict[str, str]]:
        is_over.wait(20)
        return 200, {}

    receiver.answer = answer
    start_s = time.monotonic()
    assert delivered(tmp_path, receiver, timeout_s=0.3) == UNREACHABLE
    assert time.monotonic() - start_s < 5
    is_over.set()


def test_an_answer_without_end_is_not_read_to_its_end(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda _: (200, {"content-length": str(10**9)})
    receiver.tail = b"x" * 10**6
    assert delivered(tmp_path, receiver) == Receipt(taken=3)


@pytest.mark.parametrize(("host", "receipt"), [("good.test", Receipt(taken=3)), ("bad.test", UNREACHABLE)])
def test_over_tls_the_certificate_must_be_the_host_s(tmp_path: Path, host: str, receipt: Receipt) -> None:
    file = certificate("good.test", tmp_path)
    tls = ssl.create_default_context(cafile=file)
    with receiving([KEY], certificate=file) as receiver:
        url = f"https://{host}:{receiver.port}/"
        assert carrying(tmp_path, url, lambda carrier: carrier.deliver(parcel(0, 1, 2)), tls=tls) == receipt
        assert len(receiver.posts) == receipt.taken // 3


def test_a_certificate_of_nobody_is_not_enough(tmp_path: Path) -> None:
    with receiving([KEY], certificate=certificate("good.test", tmp_path)) as receiver:
        url = f"https://good.test:{receiver.port}/"
        assert carrying(tmp_path, url, lambda carrier: carrier.deliver(parcel(0))) == UNREACHABLE
