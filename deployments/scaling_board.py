"""The last decision of the autoscaler, put by the controller where every ingress can read it."""

import asyncio
import json
import logging
import threading
import time
from typing import Any, Final

from ray import serve
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from app.pipeline.tally import Tally
from deployments.metrics import RayMetrics

LOG = logging.getLogger("sightline")
_NAMESPACE: Final = "sightline"
_STALE_S: Final = 30.0
"""When nothing was decided for so long, nobody decides: no policy, or its application is gone."""
NOBODY: Final = {"enabled": False, "words": "this service has a fixed number of replicas: no policy decides"}


def key_of(application: str) -> str:
    """Where the decisions about this application lie in Ray's own store."""
    return f"scaling-{application}"


def told(found: bytes | None, *, now_s: float) -> dict[str, Any]:
    """What was posted as a caller reads it at `now_s`, in seconds of the epoch."""
    if found is None:
        return dict(NOBODY)
    posted = json.loads(found)
    age_s = max(now_s - posted["posted_s"], 0.0)
    if age_s > _STALE_S:
        return {"enabled": False, "words": f"nothing was decided for {age_s:.0f} s: no policy decides now"}
    return {"enabled": True, "age_s": round(age_s, 3), **posted["document"]}


class ScalingBoard:
    """Posts documents from a thread of its own: Serve's controller, which decides, must never wait.

    What was counted in `tally` is published with them.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._latest: tuple[str, dict[str, Any]] = "", {}
        self._has_news = threading.Event()
        self._thread: threading.Thread | None = None

    def post(self, application: str, document: dict[str, Any]) -> None:
        """Let it be read soon; one that is not yet posted gives way to the next."""
        self._latest = application, document
        self._has_news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="scaling-board")
            self._thread.start()

    def _run(self) -> None:
        publish = RayMetrics()
        while True:
            self._has_news.wait()
            self._has_news.clear()
            application, document = self._latest
            try:
                written = json.dumps({"posted_s": time.time(), "document": document}, allow_nan=False)
                _internal_kv_put(key_of(application), written, overwrite=True, namespace=_NAMESPACE)
                publish(self.tally.snapshot())
            except Exception:
                LOG.exception("the decision of the autoscaler cannot be posted")
                time.sleep(_STALE_S)


class ServeScaling:
    """The decisions about the application of this replica; implements `app.pipeline.scaling.Scaling`."""

    async def explain(self) -> dict[str, Any]:
        """The last decision; `enabled` false where none was made lately."""
        key = key_of(serve.get_replica_context().app_name)
        found: bytes | None = await asyncio.to_thread(_internal_kv_get, key, namespace=_NAMESPACE)
        return told(found, now_s=time.time())
