"""Spans of requests and of the stages they go through, one JSON object a line, in a file of each process.

Serve makes the spans and carries the trace from call to call; a `traceparent` that a caller sends is taken up. Off
unless the configuration says so, at its top level: `tracing_config: {enabled: true, sampling_ratio: 0.01,
exporter_import_path: "deployments.tracing:processors"}`. Any other function like `processors` sends them elsewhere.
"""

import json
import os
import threading
from collections.abc import Sequence
from contextvars import Context
from pathlib import Path
from typing import Any, Final

from opentelemetry.context import attach, get_current
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from ray.serve._private.logging_utils import get_serve_logs_dir

_KEPT: Final = (
    "deployment",
    "replica_id",
    "http.route",
    "http.method",
    "http.status_code",
    "rpc.method",
    "rpc.service",
)
"""What else Serve puts on a span may hold what a caller has sent."""
_EVERY_MS: Final = 1000


class SpanFile(SpanExporter):
    """Appends spans to `file`, in a thread of the SDK's and never in a request's way."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write them down; FAILURE where the disk does not take them, and they are lost."""
        lines = "".join(json.dumps(told(span)) + "\n" for span in spans)
        try:
            with self._lock, self._file.open("a", encoding="utf-8") as out:
                out.write(lines)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def told(span: ReadableSpan) -> dict[str, Any]:
    """A span as it is written: ids in hexadecimal as W3C has them, times in seconds since 1970."""
    own, parent = span.get_span_context(), span.parent
    attributes = span.attributes or {}
    return {
        "name": span.name.split("?")[0],
        "trace_id": f"{own.trace_id:032x}" if own else None,
        "span_id": f"{own.span_id:016x}" if own else None,
        "parent_id": f"{parent.span_id:016x}" if parent else None,
        "start_s": (span.start_time or 0) / 1e9,
        "end_s": (span.end_time or 0) / 1e9,
        "status": span.status.status_code.name,
        **{name: attributes[name] for name in _KEPT if name in attributes},
    }


def in_the_trace() -> Context:
    """A fresh context that belongs to the caller's trace, and of the caller's request knows nothing else.

    Work for several requests must not run in the context of one, or Ray would give all its calls that request's id; in
    an empty one, a stage's span would be the beginning of a trace of its own.
    """
    current, fresh = get_current(), Context()
    if current:
        fresh.run(attach, current)
    return fresh


def processors() -> list[SpanProcessor]:
    """What Serve calls in each of its processes, once."""
    file = Path(get_serve_logs_dir()) / "spans" / f"spans_{os.getpid()}.jsonl"
    return [BatchSpanProcessor(SpanFile(file), schedule_delay_millis=_EVERY_MS)]
