"""A BentoML service with adaptive batching; its own `bentoml serve` runs it. `bentoml_server.py MODEL PORT`."""

import os
import sys
from pathlib import Path

import bentoml
from plain import Model


@bentoml.service(workers=2, traffic={"timeout": 60, "max_concurrency": 256})
class Detect:
    """The model behind one batchable API."""

    def __init__(self) -> None:
        self.model = Model(os.environ["PEER_MODEL"], streams=2)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60000)
    def predict(self, images: list[Path]) -> list[dict]:
        """One answer for each picture of the batch; pictures come as multipart fields `images`."""
        return self.model.detect([image.read_bytes() for image in images])


if __name__ == "__main__":
    os.environ["PEER_MODEL"] = sys.argv[1]
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    program = str(Path(sys.executable).with_name("bentoml"))
    os.execv(program, [program, "serve", "bentoml_server:Detect", "--host", "127.0.0.1", "--port", sys.argv[2]])
