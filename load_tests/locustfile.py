"""For people who expect a Locust file; Locust is not in the serving environment.

`uvx locust -f load_tests/locustfile.py --host http://localhost:8000 --picture photo.jpg`
It is a closed loop of Python coroutines that tells latencies from when it sent: README's figures are of `open_loop_*`.
"""

import os
from pathlib import Path
from typing import Any

from locust import HttpUser, constant_throughput, events, task


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    parser.add_argument("--picture", default=os.environ.get("PICTURE", "photo.jpg"), help="the image that is sent")
    parser.add_argument("--slo-s", type=float, default=0.25, help="an answer after that is counted as a failure")


class Caller(HttpUser):
    """Somebody who asks for the objects in one picture, once a second if the service lets him."""

    wait_time = constant_throughput(1)

    def on_start(self) -> None:
        """Read the picture once."""
        self.picture = Path(self.environment.parsed_options.picture).read_bytes()

    @task
    def detect(self) -> None:
        """One image. A refusal with Retry-After is counted as one, and is no fault."""
        with self.client.post(
            "/v1/detections", data=self.picture, headers={"content-type": "image/jpeg"}, catch_response=True
        ) as answer:
            slo_s = self.environment.parsed_options.slo_s
            if answer.status_code in (429, 503) and "retry-after" in answer.headers:
                answer.failure(f"refused: {answer.json()['code']}")
            elif answer.status_code != 200:
                answer.failure(f"{answer.status_code}")
            elif answer.elapsed.total_seconds() > slo_s:
                answer.failure(f"later than {slo_s:g} s")
