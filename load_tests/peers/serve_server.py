"""A bare Ray Serve deployment with `serve.batch`, and nothing else. `serve_server.py MODEL PORT`."""

import sys
import time

import ray
from plain import Model, to_json
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=2, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Detect:
    """The model behind one HTTP path."""

    def __init__(self, path: str) -> None:
        self.model = Model(path, streams=2)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)
    async def detect(self, bodies: list[bytes]) -> list[dict]:
        """One answer for each body."""
        return self.model.detect(bodies)

    async def __call__(self, request: Request) -> Response:
        """One JPEG in, its boxes out."""
        return Response(to_json(await self.detect(await request.body())), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Detect.bind(sys.argv[1]), route_prefix="/predict")
    while True:
        time.sleep(3600)
