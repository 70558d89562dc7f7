"""`sightline track`: the tracked objects of a video file, drawn and written down, with a progress bar."""

import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import BinaryIO, Self

from tqdm import tqdm

from app import assembly
from app.api.contract import to_line
from app.core.errors import SightlineError
from app.core.frame import Frame, Tracks
from app.core.ledger import Ledger
from app.core.outcome import End
from app.core.ports import Engine
from app.core.query import Query
from app.core.result import FrameResult, Summary
from app.core.video import VideoSpec
from app.media.video import VideoReader
from app.media.writer import VideoWriter
from app.pipeline.results import UNTRACKED, result_of
from app.settings import Settings
from app.vision.draw import draw_objects


async def run(
    settings: Settings, engine: Engine, *, video: Path, conf: float | None, save: Path | None, jsonl: Path | None
) -> int:
    """Exit code 0 when every frame was answered and the file ended well."""
    reader = VideoReader(
        video,
        stream_id=video.name,
        spec=VideoSpec(query=Query(conf=conf)),
        model_width_px=engine.spec.input_width_px,
        model_height_px=engine.spec.input_height_px,
        limits=settings.decoder.limits,
        is_full_size=save is not None,
    )
    path = assembly.file_run(settings, engine)
    record = _Record(video.name)
    started_s = time.perf_counter()
    with ExitStack() as stack:
        lines = stack.enter_context(_open_lines(jsonl)) if jsonl else None
        drawing = stack.enter_context(_Drawing(save, engine.spec.labels)) if save else None
        bar = stack.enter_context(tqdm(total=reader.open().n_frames, unit="frame", desc=video.name, file=sys.stderr))
        async for outcome, frame in path.tracks(reader, stream_id=video.name):
            if isinstance(outcome, End):
                record.error = outcome.error
                break
            result = record.add(result_of(outcome, spec=engine.spec, total_s=0.0))
            if lines:
                lines.write(to_line(result))
            if drawing and isinstance(outcome, Tracks) and frame is not None:
                drawing.add(outcome, frame)
            bar.update()
        if lines:
            lines.write(to_line(record.summary()))
    _print_words(record, elapsed_s=time.perf_counter() - started_s)
    return 1 if record.error or record.summary().errors else 0


class _Record:
    """What one run has seen so far: the ledger, the identities, and what broke the file, if anything."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.error: SightlineError | None = None
        self.label_of: dict[int, str] = {}
        self._ledger = Ledger()

    def add(self, result: FrameResult) -> FrameResult:
        self._ledger.capture(result.seq)
        self._ledger.settle(result)
        self.label_of |= {found.track_id: found.label for found in result.objects if found.track_id is not None}
        return result

    def summary(self) -> Summary:
        reason, detail = (self.error.code, self.error.detail) if self.error else (None, None)
        return self._ledger.summary(stream_id=self.stream_id, epoch=0, reason=reason, detail=detail)


class _Drawing:
    """An annotated video; opened by its first frame, which tells the size."""

    def __init__(self, target: Path, labels: tuple[str, ...]) -> None:
        self._target = target
        self._labels = labels
        self._writer: VideoWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, tracks: Tracks, frame: Frame) -> None:
        found = tracks.detections
        ids = tracks.track_id.tolist()
        drawn = draw_objects(
            frame.rgb,
            found.xyxy,
            labels=[self._labels[label] for label in found.label.tolist()],
            ids=[None if track_id == UNTRACKED else track_id for track_id in ids],
            scores=found.score.tolist(),
        )
        if self._writer is None:
            self._writer = VideoWriter(self._target, width_px=frame.rgb.shape[1], height_px=frame.rgb.shape[0])
        self._writer.write(drawn, pts_s=frame.ref.pts_s or 0.0)


def _open_lines(target: Path) -> AbstractContextManager[BinaryIO]:
    if str(target) == "-":
        return nullcontext(sys.stdout.buffer)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("wb")


def _print_words(record: _Record, *, elapsed_s: float) -> None:
    summary = record.summary()
    kinds = ", ".join(f"{n} {label}" for label, n in sorted(Counter(record.label_of.values()).items())) or "none"
    words = f"{summary.captured} frames in {elapsed_s:.1f} s ({summary.captured / elapsed_s:.1f} fps); tracks: {kinds}"
    print(words, file=sys.stderr)
    if summary.errors:
        print(f"sightline: frames that ended in an error: {summary.errors}", file=sys.stderr)
    if record.error:
        print(f"sightline: the file broke off: {record.error.detail}", file=sys.stderr)
