"""Against a server that is not ours: aio-rtsp-toolkit, an RTSP implementation of its own, with H.264 and H.265."""

import asyncio
from fractions import Fraction
from pathlib import Path

import aio_rtsp_toolkit.server as foreign
import av
import pytest

from load_tests.camfarm import Camera, Scene, render
from tests.sources.pulling import Told, check_nothing_is_missing, frames, from_first_frame, numbers, running


def write_mkv(path: Path, *, codec: str, n_frames: int) -> None:
    """A recording in that codec, with a key frame every ten and no reordering."""
    camera = Camera(width_px=320, height_px=180, fps=30.0, stream=5)
    options = {"libx264": {"bf": "0", "g": "10"}, "libx265": {"x265-params": "bframes=0:keyint=10:log-level=none"}}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"preset": "ultrafast", **options[codec]})
        stream.width, stream.height, stream.pix_fmt = camera.width_px, camera.height_px, "yuv420p"
        for shot in render(Scene(seed=3), camera, frames=n_frames):
            picture = av.VideoFrame.from_ndarray(shot.rgb, format="rgb24")
            picture.pts, picture.time_base = shot.seq, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_foreign_server_s_frames_arrive_whole_and_in_order(tmp_path: Path, codec: str) -> None:
    write_mkv(tmp_path / "street.mkv", codec=codec, n_frames=90)

    async def scenario() -> Told:
        server = await foreign.RtspServer(str(tmp_path), host="127.0.0.1", port=0).start()
        try:
            port = server._server.sockets[0].getsockname()[1]
            async with running(f"rtsp://127.0.0.1:{port}/street.mkv") as (_, told):
                await told.until(frames(30))
            return told
        finally:
            await server.close()

    told = asyncio.run(scenario())
    items = from_first_frame(told.items)
    check_nothing_is_missing(items, first=numbers(items)[0], cycle=90)
