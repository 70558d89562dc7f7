"""A service that nobody configured for faults: there is no way to plant one, and no sign that there could be."""

import httpx
import pytest

from load_tests.service import Service
from tests.ray.fault_callers import FAULTS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", FAULTS), ("GET", FAULTS), ("DELETE", f"{FAULTS}/0123456789abcdef")]
)
def test_faults_do_not_exist_in_the_service_as_it_is_delivered(staged: Service, method: str, path: str) -> None:
    with httpx.Client(base_url=staged.url, timeout=30) as client:
        answer = client.request(method, path, content=b'{"fault": {"kind": "gpu_oom"}}')
        nowhere = client.request(method, "/v1/no/such/thing")
        documented = client.get("/openapi.json").text
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"] == nowhere.json()["detail"]
    assert FAULTS not in documented
