import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import DeadlineError, InvalidParameterError, SightlineError, TooLargeError
from app.media.fetch import Fetcher, system_addresses
from app.media.fetch_guard import FetchParameters
from tests.unit.media.web import IMAGE, Web, certificate, serving


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def fetcher(web: Web, *, hosts: tuple[str, ...] = ("127.0.0.1",), resolve: Any = None, **options: Any) -> Fetcher:
    """For the loopback server under these names; `resolve` sends every name to it unless given."""
    parameters = {"allow_private": True, "timeout_s": 5.0, **options}
    allowed = tuple(f"{host}:{web.port}" for host in hosts)
    return Fetcher(
        FetchParameters(allowed_hosts=allowed, **parameters), resolve=resolve or (lambda _host, _port: ["127.0.0.1"])
    )


def refusal(web: Web, page: str, *, max_bytes: int = 1000, **options: Any) -> SightlineError:
    with pytest.raises(SightlineError) as caught:
        fetcher(web, **options).fetch(web.url(page), max_bytes=max_bytes)
    assert "127.0.0.1" not in caught.value.detail
    assert caught.value.__cause__ is None
    return caught.value


def test_an_image_is_fetched_and_nothing_but_an_image_is_asked_for(web: Web) -> None:
    assert fetcher(web).fetch(web.url("image/a?b=c"), max_bytes=1000) == IMAGE
    path, headers = web.asked[-1]
    assert path == "/image/a?b=c"
    assert set(headers) == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert headers["host"] == f"127.0.0.1:{web.port}"


def test_a_body_in_chunks_is_fetched_to_the_very_limit(web: Web) -> None:
    assert len(fetcher(web).fetch(web.url("chunked/1000"), max_bytes=1000)) == 1000
    assert isinstance(refusal(web, "chunked/1010"), TooLargeError)


def test_a_declared_length_over_the_limit_is_refused_before_the_body(web: Web) -> None:
    start_s = time.monotonic()
    assert isinstance(refusal(web, "declared/1001"), TooLargeError)
    assert time.monotonic() - start_s < 3


def test_a_body_without_a_length_is_cut_off_at_the_limit(web: Web) -> None:
    assert isinstance(refusal(web, "endless", max_bytes=100_000), TooLargeError)


@pytest.mark.parametrize("page", ["drip/head", "drip/body", "declared/10"])
def test_a_server_that_drips_is_given_up_at_the_deadline(web: Web, page: str) -> None:
    start_s = time.monotonic()
    assert isinstance(refusal(web, page, timeout_s=0.3), DeadlineError)
    assert time.monotonic() - start_s < 3


def test_the_deadline_of_the_caller_counts_when_it_is_the_earlier_one(web: Web) -> None:
    with pytest.raises(DeadlineError):
        fetcher(web).fetch(web.url("drip/body"), max_bytes=1000, deadline_s=time.monotonic() + 0.2)
    with pytest.raises(DeadlineError):
        fetcher(web).fetch(web.url("image"), max_bytes=1000, deadline_s=time.monotonic() - 1)


@pytest.mark.parametrize("page", ["cut", "empty", "zip", "nonsense", "no-such-page", "nowhere"])
def test_what_is_no_whole_image_is_refused(web: Web, page: str) -> None:
    assert isinstance(refusal(web, page), InvalidParameterError)


def test_redirects_are_followed_as_far_as_the_configuration_says(web: Web) -> None:
    assert fetcher(web).fetch(web.url("to//image"), max_bytes=1000) == IMAGE
    assert fetcher(web).fetch(web.url("to//to//image"), max_bytes=1000) == IMAGE
    assert "2 redirects" in refusal(web, "loop").detail
    assert "0 redirects" in refusal(web, "to//image", max_redirects=0).detail


@pytest.mark.parametrize("location", ["http~//169.254.169.254/latest", "//localhost/", "file~///etc/passwd"])
def test_a_redirect_to_what_is_not_listed_is_refused(web: Web, location: str) -> None:
    assert isinstance(refusal(web, f"to/{location}"), InvalidParameterError)


def test_a_redirect_to_a_listed_name_that_is_private_is_refused(web: Web) -> None:
    """The second hop's addresses are checked like the first's."""
    addresses = {"front.test": ["127.0.0.1"], "back.test": ["169.254.169.254"]}
    shop = fetcher(web, hosts=tuple(addresses), resolve=lambda host, _port: addresses[host])
    with pytest.raises(InvalidParameterError, match="not in the public internet"):
        shop.fetch(web.url(f"to/http~//back.test~{web.port}/image", host="front.test"), max_bytes=1000)


def test_a_private_host_is_not_even_connected_to(web: Web) -> None:
    before = len(web.asked)
    assert "not in the public internet" in refusal(web, "image", allow_private=False).detail
    assert len(web.asked) == before


def test_one_private_address_among_public_ones_is_enough_to_refuse(web: Web) -> None:
    error = refusal(web, "image", allow_private=False, resolve=lambda *_: ["93.184.216.34", "127.0.0.1"])
    assert isinstance(error, InvalidParameterError)


def test_a_name_is_resolved_once_so_that_a_second_answer_changes_nothing(web: Web) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    shop = fetcher(web, hosts=("rebinding.test",), resolve=lambda *_: next(answers))
    assert shop.fetch(web.url("image", host="rebinding.test"), max_bytes=1000) == IMAGE
    assert web.asked[-1][1]["host"] == f"rebinding.test:{web.port}"
    assert next(answers) == ["169.254.169.254"]


def test_the_next_address_is_tried_when_one_does_not_answer(web: Web) -> None:
    assert fetcher(web, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"]).fetch(web.url("image"), max_bytes=1000) == IMAGE
    assert isinstance(refusal(web, "image", resolve=lambda *_: ["127.0.0.2"]), InvalidParameterError)


def test_a_name_that_nobody_knows_is_refused(web: Web) -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "secret resolver")

    assert refusal(web, "image", resolve=unknown).detail == "url: this host is not known"


def test_proxies_of_the_environment_are_not_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert fetcher(web).fetch(web.url("image"), max_bytes=1000) == IMAGE


def test_the_resolver_of_the_machine_gives_addresses() -> None:
    assert system_addresses("127.0.0.1", 80) == ["127.0.0.1"]


def test_over_tls_the_certificate_must_hold_for_the_name(tmp_path: Path) -> None:
    file = certificate("good.test", tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    with serving(server_side) as web:
        hosts = (f"good.test:{web.port}", f"other.test:{web.port}")
        parameters = FetchParameters(allowed_hosts=hosts, allow_private=True)
        shop = Fetcher(parameters, resolve=lambda *_: ["127.0.0.1"], tls=trusting)
        assert shop.fetch(web.url("image", host="good.test"), max_bytes=1000) == IMAGE
        with pytest.raises(InvalidParameterError, match="certificate"):
            shop.fetch(web.url("image", host="other.test"), max_bytes=1000)
        distrusting = Fetcher(parameters, resolve=lambda *_: ["127.0.0.1"])
        with pytest.raises(InvalidParameterError, match="certificate"):
            distrusting.fetch(web.url("image", host="good.test"), max_bytes=1000)
        with pytest.raises(DeadlineError):
            shop.fetch(web.url("drip/body", host="good.test"), max_bytes=1000, deadline_s=time.monotonic() + 0.5)


def test_a_server_without_tls_is_no_https_server(web: Web) -> None:
    with pytest.raises(InvalidParameterError, match="cannot be reached"):
        fetcher(web).fetch(web.url("image").replace("http:", "https:"), max_bytes=1000)
