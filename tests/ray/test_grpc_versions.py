"""The version that a caller asks for over gRPC, through the real proxy."""

import grpc
import pytest

from app.contract.vision_pb2 import Image
from app.contract.vision_pb2_grpc import VideoAnalyticsStub
from app.vision.example import example_jpeg
from load_tests.service import Service
from tests.ray.test_live_transports import started_with

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
PICTURE = Image(data=example_jpeg(width_px=416, height_px=416))


def wish(version: str) -> list[tuple[str, str]]:
    return [("accept", f"application/vnd.sightline.vision.v{version}+json")]


def test_metadata_pick_a_version_and_one_that_is_not_there_is_told_which_are(staged: Service) -> None:
    with grpc.insecure_channel(started_with(staged).grpc_address) as channel:
        stub = VideoAnalyticsStub(channel)
        there = stub.Detect(PICTURE, timeout=30).model.version
        assert stub.Detect(PICTURE, metadata=wish(there), timeout=30).model.version == there
        with pytest.raises(grpc.RpcError) as caught:
            stub.Detect(PICTURE, metadata=wish("99.1"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert there in str(caught.value.details())
    assert ("sightline-code", "not_acceptable") in [tuple(entry) for entry in caught.value.trailing_metadata()]
