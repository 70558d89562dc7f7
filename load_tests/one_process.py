"""The other side of the efficiency scenarios: the same engine and stages in one process, with no server at all.

Reads commands on stdin, `stills SECONDS` or `video PATH`, and answers each with one number on stdout.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path

from app import assembly
from app.core.frame import EncodedFrame, FrameRef
from app.core.outcome import End
from app.core.video import VideoSpec
from app.media.still import decode_still
from app.media.video import VideoReader
from app.settings import Settings
from app.vision.letterbox import fit
from app.vision.postprocess import Thresholds, detections
from engines.opening import open_engine


class OneProcess:
    """Decode, fit, infer and read out in a loop, one thread per engine stream: nothing waits for anything else."""

    def __init__(self, model: Path, jpegs: list[bytes]) -> None:
        self._settings = Settings.model_validate({"model": {"path": str(model)}})
        self._engine = open_engine(model, max_batch=1)
        self._jpegs = jpegs

    def stills(self, seconds: float) -> float:
        """Images per second, over every image that was begun within `seconds`."""
        done = [0] * self._engine.streams
        start_s = time.perf_counter()

        def work(index: int) -> None:
            while time.perf_counter() - start_s < seconds:
                self._still(done[index] * len(done) + index)
                done[index] += 1

        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(done))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / (time.perf_counter() - start_s)

    def _still(self, seq: int) -> None:
        spec = self._engine.spec
        encoded = EncodedFrame(data=self._jpegs[seq % len(self._jpegs)], ref=FrameRef(stream_id="s", seq=seq))
        frame = decode_still(encoded, model_width_px=spec.input_width_px, model_height_px=spec.input_height_px)
        fitted = fit(frame, width_px=spec.input_width_px, height_px=spec.input_height_px)
        detections(self._engine.infer(fitted.canvases), fitted, spec, thresholds=Thresholds())

    def video(self, path: Path) -> float:
        """Frames per second, decoded, detected and tracked, as `sightline track` does it."""
        spec = self._engine.spec
        reader = VideoReader(
            path,
            stream_id="v",
            spec=VideoSpec(),
            model_width_px=spec.input_width_px,
            model_height_px=spec.input_height_px,
        )

        async def run() -> int:
            tracks = assembly.file_run(self._settings, self._engine).tracks(reader, stream_id="v")
            return sum([1 async for outcome, _ in tracks if not isinstance(outcome, End)])

        start_s = time.perf_counter()
        return asyncio.run(run()) / (time.perf_counter() - start_s)


def main(model: str, folder: str) -> None:
    """Serve commands until stdin closes."""
    import cv2

    cv2.setNumThreads(1)
    side = OneProcess(Path(model), [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))])
    print("ready", flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        print(side.stills(float(argument)) if command == "stills" else side.video(Path(argument)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
