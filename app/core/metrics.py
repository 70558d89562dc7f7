"""Every metric that the service records, in one table, and the port that they are recorded at.

What is named here is what dashboards, alerts and tests are made from. Ray exports a metric under `prometheus_name`,
with the labels `application`, `deployment` and `replica` of whoever recorded it besides its own.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in the order of its `labels`. Never what a user has sent."""


class MetricKind(StrEnum):
    """How values add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric. `buckets` are the upper bounds of a histogram's, in `unit`; the last one is without bound."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """What Prometheus knows it by; a histogram has `_bucket`, `_sum` and `_count` behind that."""
        return f"ray_{self.name}_total" if self.kind is MetricKind.COUNTER else f"ray_{self.name}"


class Metrics(Protocol):
    """Where stages put their numbers; safe for threads, and cheap enough for every frame."""

    def count(self, metric: Metric, labels: Labels = (), *, by: float = 1) -> None:
        """Add to a counter."""

    def set(self, metric: Metric, labels: Labels = (), *, to: float) -> None:
        """Let a gauge stand there from now on."""

    def observe(self, metric: Metric, labels: Labels = (), *, value: float) -> None:
        """One value more in a histogram."""


class _Silent:
    """Nobody listens: the whole path in one process, and tests of something else."""

    def count(self, metric: Metric, labels: Labels = (), *, by: float = 1) -> None:
        pass

    def set(self, metric: Metric, labels: Labels = (), *, to: float) -> None:
        pass

    def observe(self, metric: Metric, labels: Labels = (), *, value: float) -> None:
        pass


SILENT: Final[Metrics] = _Silent()

STAGE_SECONDS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Doubling from half a millisecond; from 0.1 s on the objectives of the service have bounds of their own."""
LOAD_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0)
IMAGES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
PAUSE_SECONDS: Final = tuple(1e-5 * 2**power for power in range(12))
"""10 µs to 20.48 ms. Source: MISSION row 56, ExponentialBuckets(1e4, 2, 12) in nanoseconds."""


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"sightline_{name}", kind=MetricKind.COUNTER, unit=unit, help=text, labels=labels)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"sightline_{name}", kind=MetricKind.GAUGE, unit=unit, help=text, labels=labels)


def _histogram(name: str, unit: str, text: str, *labels: str, buckets: tuple[float, ...] = STAGE_SECONDS) -> Metric:
    name = f"sightline_{name}"
    return Metric(name=name, kind=MetricKind.HISTOGRAM, unit=unit, help=text, labels=labels, buckets=buckets)


_FRAME_KIND: Final = "kind"  # still, video, stream, or probe: a picture of our own
_MODEL: Final = ("model", "version")

SERVICE_FRAMES: Final = _counter(
    "service_frames", "frames", "Captured frames by how they ended.", _FRAME_KIND, "status", "reason"
)
SERVICE_FRAME_SECONDS: Final = _histogram(
    "service_frame_seconds", "seconds", "From capture here to the result, of answered frames.", _FRAME_KIND
)
SERVICE_RESULT_AGE: Final = _histogram(
    "service_result_age_seconds", "seconds", "Age of an answered frame, by its source's clock.", _FRAME_KIND
)
INGRESS_PROBLEMS: Final = _counter("ingress_problems", "answers", "HTTP answers that were problems.", "code")
INGRESS_WAITING: Final = _gauge("ingress_waiting_frames", "frames", "Stills that wait for a place in a batch.")
DECODER_SECONDS: Final = _histogram("decoder_frame_seconds", "seconds", "Decoding of one picture.", "source")
DECODER_COPIED: Final = _counter(
    "decoder_copied_bytes", "bytes", "Pixels handed on: one copy where the next stage is a process of its own."
)
DECODER_VIDEOS: Final = _gauge("decoder_open_videos", "videos", "Uploads that are being decoded.")
PREPROCESSOR_SECONDS: Final = _histogram("preprocessor_frame_seconds", "seconds", "Fitting of one picture.")
PREPROCESSOR_COPIED: Final = _counter(
    "preprocessor_copied_bytes", "bytes", "Pixels handed on: one copy where the next stage is a process of its own."
)
DETECTOR_FRAMES: Final = _counter("detector_frames", "frames", "Frames that a version has answered.", *_MODEL)
DETECTOR_WAIT: Final = _histogram("detector_wait_seconds", "seconds", "Of a frame, until its batch began.", *_MODEL)
DETECTOR_BATCH: Final = _histogram(
    "detector_batch_images", "images", "Canvases of one call to the engine.", *_MODEL, buckets=IMAGES
)
DETECTOR_INFERENCE: Final = _histogram(
    "detector_inference_seconds",
    "seconds",
    "One call to the engine, by the power of two that its batch is not above.",
    *_MODEL,
    "batch",
)
DETECTOR_POSTPROCESS: Final = _histogram("detector_postprocess_seconds", "seconds", "Rows to objects.", *_MODEL)
DETECTOR_COPIED: Final = _counter("detector_copied_bytes", "bytes", "Pixels that were given to the engine.")
DETECTOR_WAITING: Final = _gauge("detector_waiting_images", "images", "Canvases that wait for the engine.", *_MODEL)
DETECTOR_IN_FLIGHT: Final = _gauge("detector_in_flight_frames", "frames", "Frames in one version.", *_MODEL)
DETECTOR_MISMATCHES: Final = _counter(
    "detector_input_mismatches", "frames", "Frames that the engine refused for their shape.", *_MODEL
)
DETECTOR_BREAKER: Final = _gauge(
    "detector_breaker_state", "state", "Before an engine: 0 closed, 1 half open, 2 open.", *_MODEL, "engine"
)
DETECTOR_DEGRADED: Final = _gauge(
    "detector_degraded_ratio", "ratio", "1 while answers are worse than they could be.", *_MODEL
)
DETECTOR_LOAD_FAILURES: Final = _counter(
    "detector_engine_load_failures", "failures", "Engines that could not be opened.", *_MODEL
)
DETECTOR_SWAP: Final = _histogram(
    "detector_swap_seconds",
    "seconds",
    "Loading of a version until it is warm.",
    "model",
    "outcome",
    buckets=LOAD_SECONDS,
)
TRACKER_SECONDS: Final = _histogram("tracker_frame_seconds", "seconds", "Tracks and events of one frame.", _FRAME_KIND)
TRACKER_STREAMS: Final = _gauge("tracker_open_streams", "streams", "Live streams, by state.", "state")
TRACKER_WAITING: Final = _gauge("tracker_waiting_frames", "frames", "Frames of live streams without an end.")
TRACKER_RECONNECTS: Final = _counter("tracker_reconnects", "attempts", "Tries to come back to a camera.", "reason")
GPU_VRAM_USED: Final = _gauge("gpu_vram_used_bytes", "bytes", "Memory of the device in use.", "device")
GPU_VRAM_TOTAL: Final = _gauge("gpu_vram_total_bytes", "bytes", "Memory of the device.", "device")
GPU_VRAM_DYNAMIC: Final = _gauge("gpu_vram_dynamic_bytes", "bytes", "Memory that comes and goes with load.", "device")
GPU_UTILISATION: Final = _gauge("gpu_utilisation_ratio", "ratio", "Time in which a kernel ran.", "device")
GPU_DECODER: Final = _gauge("gpu_decoder_utilisation_ratio", "ratio", "Of the video decoder.", "device")
GPU_PCIE: Final = _gauge(
    "gpu_pcie_bytes_per_second", "bytes/s", "Over the link, to the GPU or from it.", "device", "direction"
)
GPU_PCIE_UTILISATION: Final = _gauge(
    "gpu_pcie_utilisation_ratio", "ratio", "The busier direction over what the link carries in theory.", "device"
)
GPU_NVLINK: Final = _gauge("gpu_nvlink_bytes_per_second", "bytes/s", "Over all NVLinks.", "device", "direction")
PROCESS_RSS: Final = _gauge("process_resident_bytes", "bytes", "Memory of this process that is in RAM.")
PROCESS_CPU: Final = _counter("process_cpu_seconds", "seconds", "Time that this process has computed.")
PROCESS_GC_PAUSE: Final = _histogram(
    "process_gc_pause_seconds", "seconds", "Pauses for the garbage collector.", "generation", buckets=PAUSE_SECONDS
)
AUTOSCALER_REPLICAS: Final = _gauge(
    "autoscaler_replicas", "replicas", "That run, are ordered, or would be without guards.", "scaled", "count"
)
AUTOSCALER_TERM: Final = _gauge(
    "autoscaler_term_ratio", "ratio", "The score, and the terms that it is made of.", "scaled", "term"
)
AUTOSCALER_DECISIONS: Final = _counter(
    "autoscaler_decisions",
    "decisions",
    "What was decided, why, and which guard forbade.",
    "scaled",
    "verdict",
    "cause",
    "guard",
)

TABLE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""
