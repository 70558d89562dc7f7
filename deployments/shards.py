"""The detecting stage spread over a gang of replicas, each with one part of the model on a GPU of its own."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve

from app.core.errors import InternalError, ModelError, UnavailableError
from app.core.frame import Detections, ModelInput
from app.core.outcome import Outcome
from app.pipeline.detector import Detector
from app.settings import ModelSettings
from deployments.faults import peel
from deployments.gang_router import Metadata, member, metadata
from engines.model_file import ModelFile, read_model_file
from engines.opening import warm
from engines.parts import read_parts
from engines.pipelined import PipelinedEngine
from engines.sub_model import SubModel, Tensors

LOG = logging.getLogger("sightline")
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardParameters:
    """`parts` is the folder that `engines.split` wrote, one part a member.

    `in_flight` batches are between the first part and the answer; None is one a part and one more, which waits at the
    first. The gang has `assembly_s` seconds to be complete, a batch `answer_s` to come through all of it.
    """

    parts: Path
    in_flight: int | None = None
    assembly_s: float = 120.0
    answer_s: float = 30.0
    vram_bytes: int | None = None


class Shard:
    """One member of a gang: the part of its rank. Rank 0 is the Detector that callers see, the others are behind it.

    Tensors go from rank to rank as pending responses: rank 0 hands its own to rank 1 and asks for the last one's, and
    those in between never come back to it. Serve knows no gang that is ready as a whole; here rank 0 passes its first
    health check, and so takes calls, once a picture has gone through every part.
    """

    def __init__(self, model: ModelSettings, parameters: ShardParameters) -> None:
        context = serve.get_replica_context()
        gang = context.gang_context
        if gang is None or model.file is None:
            raise InternalError("a shard is a member of a gang, and has a model file")
        self._gang = gang
        self._parameters = parameters
        self._members = serve.get_deployment_handle(context.deployment, context.app_name)
        self._part = self._open(parameters)
        self._turn = ThreadPoolExecutor(1, thread_name_prefix="part")
        self._detector: Detector | None = None
        self._engine: PipelinedEngine | None = None
        self._is_ready = False
        self._is_stuck = False
        if gang.rank == 0:
            self._lead(read_model_file(model.file), model)

    def _open(self, parameters: ShardParameters) -> SubModel:
        """This member's part, of a model that is cut into as many as the gang has members."""
        parts = read_parts(parameters.parts)
        if len(parts.parts) != self._gang.world_size:
            raise ModelError(f"the model is cut into {len(parts.parts)}, the gang has {self._gang.world_size} members")
        rank = self._gang.rank
        return SubModel(parts.read(rank, parameters.parts), parts.parts[rank], vram_bytes=parameters.vram_bytes)

    def _lead(self, file: ModelFile, model: ModelSettings) -> None:
        """Become what callers see; the model file says what the parts together are."""
        if file.sha256 != read_parts(self._parameters.parts).whole_sha256:
            raise ModelError("the parts were cut from another model file")
        in_flight = self._parameters.in_flight or self._gang.world_size + 1
        self._engine = PipelinedEngine(file, self._part, rest=self._rest, in_flight=in_flight)
        self._detector = Detector(self._engine, parameters=model.serving)

    def record_replica_metadata(self) -> Metadata:
        """What the router knows this member by."""
        return metadata(self._gang.gang_id, self._gang.rank)

    async def check_health(self) -> None:
        """Rank 0 waits, the first time, until a picture goes through the whole gang; UnavailableError if none does.

        Later it raises when the last batch did not come through in time: a member that hangs is alive for Serve.
        """
        if self._is_stuck:
            raise UnavailableError
        if self._engine is None or self._is_ready:
            return
        self._loop = asyncio.get_running_loop()
        deadline_s = time.monotonic() + self._parameters.assembly_s
        while True:
            try:
                await asyncio.to_thread(warm, self._engine, batch_sizes=[1])
            except UnavailableError:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                self._is_ready = True
                return

    async def detect(self, inputs: Sequence[Outcome[ModelInput]]) -> list[Outcome[Detections]]:
        """As the Detector does; UnavailableError for each frame that was in the gang when a member died."""
        if self._detector is None:
            raise InternalError
        return await self._detector.detect(inputs)

    async def run(self, tensors: Tensors) -> dict[str, Any]:
        """Compute this member's part, one batch at a time, in the order of arrival."""
        passed: dict[str, Any] = await asyncio.get_running_loop().run_in_executor(self._turn, self._part.run, tensors)
        return passed

    def _rest(self, tensors: Tensors) -> Tensors:
        """The last member's tensors; called on the threads that feed the first part."""
        passed: Tensors = asyncio.run_coroutine_threadsafe(self._pass_on(tensors), self._loop).result()
        return passed

    async def _pass_on(self, tensors: Tensors) -> Tensors:
        passed: Any = tensors
        for rank in range(1, self._gang.world_size):
            passed = self._members.options(session_id=member(self._gang.gang_id, rank)).run.remote(passed)
        if self._gang.world_size == 1:
            return tensors
        try:
            async with asyncio.timeout(self._parameters.answer_s):
                answer: Tensors = await passed
        except TimeoutError:
            LOG.exception("a batch has been in the gang for %s s", self._parameters.answer_s)
            self._is_stuck = self._is_ready
            raise UnavailableError from None
        except Exception as error:  # noqa: BLE001  every kind of failure of a remote call is peeled here
            raise peel(error) from None
        self._is_stuck = False
        return answer
