import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from app.media.pull.messages import Reason
from app.policy.session import SessionState
from load_tests.camfarm.http_sources import HttpFaults, HttpSources
from load_tests.camfarm.rtsp_server import RtspFaults, RtspServer
from tests.sources.pulling import FAST, Told, failed, frames, running, street
from tests.unit.media.web import certificate

ONCE = replace(FAST, max_attempts=0)
LOGIN = ("admin", "p@ss/word")
ENCODED = "admin:p%40ss%2Fword"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_the_right_login_is_let_in_and_no_other(scheme: str) -> None:
    async def scenario(login: str) -> Told:
        rtsp, http = RtspServer(street(), login=LOGIN), HttpSources(street(), login=LOGIN)
        async with rtsp, http:
            url = {"rtsp": rtsp.url, "http": http.url("/mjpeg")}[scheme].replace("//", f"//{login}", 1)
            async with running(url, policy=ONCE) as (_, told):
                await told.until(lambda told: frames(3)(told) or failed(Reason.UNAUTHORIZED)(told))
            return told

    assert len(asyncio.run(scenario(f"{ENCODED}@")).frames) >= 3
    assert asyncio.run(scenario("admin:wrong@")).states[-1] == (SessionState.IDLE, Reason.UNAUTHORIZED)
    assert asyncio.run(scenario("")).states[-1] == (SessionState.IDLE, Reason.UNAUTHORIZED)


def test_a_redirect_of_rtsp_is_not_followed() -> None:
    async def scenario() -> tuple[Told, int]:
        async with RtspServer(street()) as victim, RtspServer(street()) as server:
            server.faults = RtspFaults(redirect=victim.url)
            async with running(server.url, policy=ONCE) as (_, told):
                await told.until(failed(Reason.REDIRECTED))
            return told, victim.accepted

    told, accepted = asyncio.run(scenario())
    assert (told.states[-1], accepted) == ((SessionState.IDLE, Reason.REDIRECTED), 0)


@pytest.mark.parametrize("path", ["/mjpeg", "/live.m3u8"])
def test_a_redirect_of_http_to_what_is_not_listed_is_not_followed(path: str) -> None:
    async def scenario() -> int:
        async with HttpSources(street()) as victim, HttpSources(street()) as server:
            server.faults = HttpFaults(redirect=victim.url(path))
            async with running(server.url(path), policy=ONCE) as (_, told):
                await told.until(failed(Reason.FORBIDDEN))
            return victim.accepted

    assert asyncio.run(scenario()) == 0


def test_a_redirect_of_http_within_the_list_is_followed_and_the_password_stays_behind() -> None:
    async def scenario() -> tuple[Told, int]:
        async with HttpSources(street(), login=LOGIN) as other, HttpSources(street()) as server:
            server.faults = HttpFaults(redirect=other.url("/mjpeg"))
            hosts = (f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}")
            url = server.url("/mjpeg").replace("//", f"//{ENCODED}@", 1)
            async with running(url, policy=ONCE, allowed_hosts=hosts) as (_, told):
                await told.until(failed(Reason.UNAUTHORIZED))
            return told, other.accepted

    told, accepted = asyncio.run(scenario())
    assert (told.frames, accepted) == ([], 1)


@pytest.mark.parametrize("path", ["/vod.m3u8", "/live.m3u8"])
@pytest.mark.parametrize(
    "entry", ["file:///etc/passwd", "http://127.0.0.1:{victim}/seg/0.ts", "data:video/mp2t;base64,AAAA", "rtsp://x/"]
)
def test_a_playlist_that_names_what_is_not_allowed_is_refused(path: str, entry: str) -> None:
    async def scenario() -> int:
        async with HttpSources(street()) as victim, HttpSources(street()) as server:
            server.faults = HttpFaults(entry=entry.format(victim=victim.port))
            async with running(server.url(path), policy=ONCE, connect_s=3.0) as (_, told):
                await told.until(lambda told: told.states[-1][0] is SessionState.IDLE)
            assert told.frames == []
            # FFmpeg passes over what is no HTTP by itself, and waits for a live playlist to name something better.
            assert told.states[-1][1] in (Reason.FORBIDDEN, Reason.UNDECODABLE, Reason.TIMEOUT)
            return victim.accepted

    assert asyncio.run(scenario()) == 0


def test_a_playlist_that_names_what_is_allowed_is_played() -> None:
    """Positive control: an absolute address is no reason to refuse."""

    async def scenario() -> None:
        async with HttpSources(street()) as server:
            server.faults = HttpFaults(entry=server.url("/seg/0.ts"))
            async with running(server.url("/vod.m3u8"), policy=ONCE) as (_, told):
                await told.until(frames(5))

    asyncio.run(scenario())


def test_a_listed_name_that_leads_into_our_own_network_is_not_spoken_to() -> None:
    async def scenario() -> int:
        async with RtspServer(street()) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            async with running(url, policy=ONCE, allow_private=False) as (_, told):
                await told.until(failed(Reason.FORBIDDEN))
            return server.accepted

    assert asyncio.run(scenario()) == 0


def test_a_decoder_that_gets_no_memory_dies_alone_and_the_stream_says_so() -> None:
    async def scenario() -> Told:
        async with RtspServer(street()) as server, RtspServer(street()) as other, running(other.url) as (_, untouched):
            async with running(server.url, memory_bytes=1 << 20, max_crashes=1) as (_, told):
                await told.until(lambda told: told.states[-1][0] is SessionState.IDLE)
            await untouched.until(frames(30))
        return told

    told = asyncio.run(scenario())
    assert told.states[-1] == (SessionState.IDLE, Reason.CRASHED)


@pytest.mark.parametrize("scheme", ["rtsps", "https"])
@pytest.mark.parametrize("name", ["localhost", "elsewhere.test"])
def test_over_tls_the_server_s_name_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    """The certificate is in the list of authorities, so that only the name decides."""
    file = certificate(name, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)

    async def scenario() -> Told:
        async with RtspServer(street(), tls=tls) as rtsp, HttpSources(street(), tls=tls) as http:
            url = {"rtsps": rtsp.url, "https": http.url("/vod.m3u8")}[scheme].replace("127.0.0.1", "localhost")
            async with running(url, policy=ONCE) as (_, told):
                await told.until(lambda told: frames(20)(told) or told.states[-1][0] is SessionState.IDLE)
            return told

    told = asyncio.run(scenario())
    assert len(told.frames) >= (20 if name == "localhost" else 0)
    assert (told.frames == []) is (name != "localhost")


def test_a_wrong_password_is_not_tried_five_times_a_second() -> None:
    async def scenario() -> int:
        async with RtspServer(street(), login=LOGIN) as server:
            url = server.url.replace("//", "//admin:wrong@", 1)
            async with running(url) as (_, told):
                await told.until(failed(Reason.UNAUTHORIZED))
                await asyncio.sleep(1)  # five tries of the fast policy
            return server.accepted

    assert asyncio.run(scenario()) == 1
