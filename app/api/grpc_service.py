"""The methods of `sightline.v1.VideoAnalytics`, for grpc.aio and for Ray Serve alike."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from pydantic import ValidationError

from app.api.asks import ask_with
from app.api.grpc_call import CallLimits, StreamingCall
from app.api.grpc_status import RpcContext, end_in, headers_of, known
from app.api.parameters import DEADLINE, ImageParameters
from app.api.stream_pump import PumpPorts
from app.contract.events import to_json
from app.contract.messages import to_frame_result
from app.contract.vision_pb2 import FrameResult, Image, VideoFrame
from app.core.errors import InvalidParameterError, UnauthenticatedError, UnsupportedMediaError
from app.core.frame import FrameRef
from app.pipeline.frame_path import FramePath
from app.pipeline.streams import new_stream_id
from app.pipeline.tenants import Tenants
from app.policy.route_table import Ask

NAME: Final = "sightline.v1.VideoAnalytics"


class VideoAnalytics:
    """Detection over a path of stills, live streams over a host. Ray Serve passes the context by its name."""

    def __init__(
        self, path: FramePath, ports: PumpPorts, *, tenants: Tenants | None = None, limits: CallLimits | None = None
    ) -> None:
        self._path = path
        self._tenants = tenants or Tenants({}, ports.host)
        self._ports = ports
        self._limits = limits or CallLimits()

    async def Detect(self, request: Image, grpc_context: RpcContext) -> FrameResult:  # noqa: N802  the RPC's name
        """One image in, its result out. Metadata say what headers do over HTTP: `accept` picks a version."""
        try:
            headers = headers_of(grpc_context)
            client = self._tenants.client(headers.get("authorization"))
            client.quota.spend()
            return await self._detected(request, ask_with(headers))
        except Exception as error:  # noqa: BLE001  the call ends in it
            end_in(grpc_context, known(error))
            return FrameResult()

    async def StreamingInfer(  # noqa: N802  the RPC's name
        self, request_stream: AsyncIterator[VideoFrame], grpc_context: RpcContext
    ) -> AsyncGenerator[FrameResult, None]:
        """Frames of any number of live streams in, the end of each of them out."""
        try:
            client = self._tenants.client(headers_of(grpc_context).get("authorization"))
        except UnauthenticatedError as error:
            end_in(grpc_context, error)
            return
        call = StreamingCall(self._ports.seen_by(client), self._limits)
        async with aclosing(call.answers(request_stream)) as answers:
            async for answer in answers:
                yield answer
        if call.error is not None:
            end_in(grpc_context, call.error)

    async def _detected(self, image: Image, ask: Ask) -> FrameResult:
        if image.content_type and not image.content_type.startswith(("image/", "application/octet-stream")):
            raise UnsupportedMediaError(f"the image is declared as {image.content_type[:100]}")
        given = _parameters(image)
        with self._ports.budget.lease() as lease:
            lease.grow(len(image.data))
            result = await self._path.detect(
                image.data,
                ref=FrameRef(stream_id=new_stream_id(), seq=0),
                query=given.query(self._path.spec.labels),
                ask=ask,
                deadline_s=given.deadline_s(),
            )
        return to_frame_result(to_json(result))


def _parameters(image: Image) -> ImageParameters:
    """The same checks as of `POST /v1/detections`."""
    given: dict[str, object] = {name: getattr(image, name) for name in ("conf", "iou", "tile") if image.HasField(name)}
    if image.HasField("deadline_ms"):
        given[DEADLINE] = image.deadline_ms
    if image.classes:
        given["classes"] = ",".join(image.classes)
    if image.roi:
        given["roi"] = ",".join(map(str, image.roi))
    try:
        return ImageParameters.model_validate(given)
    except ValidationError as error:
        words = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidParameterError(words) from None
