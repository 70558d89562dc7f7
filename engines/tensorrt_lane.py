"""What a plan needs to run one batch of one canvas size: a context, its memory, and the graph of its launch.

One context for each, because a captured graph holds fast the shapes and addresses that its context had. They run one
after the other on one stream, so the scratch memory of the largest serves them all. For the GPU's thread.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError, SightlineError
from engines.cuda.bindings import Bindings
from engines.cuda.device import Device
from engines.cuda.errors import CudaCallError
from engines.cuda.graph import CudaGraph
from engines.cuda.memory_pool import MemoryPool, PoolLease
from engines.profiles import BatchShape, profile_for
from engines.tensorrt_output import PooledOutput, new_output
from engines.tensorrt_plan import LoadedPlan

if TYPE_CHECKING:
    import tensorrt as trt

LOG = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneParts:
    """What all lanes of an engine have in common."""

    bindings: Bindings
    device: Device
    plan: LoadedPlan
    pool: MemoryPool


class Lane:
    """Runs batches of exactly `shape`; warm, and captured where that is possible, when it is made.

    `output_bytes` is the most that an output can be. `graph` is None where the driver captures nothing.
    """

    def __init__(self, parts: LaneParts, shape: BatchShape, *, shared: PoolLease | None) -> None:
        self.shape = shape
        self.graph: CudaGraph | None = None
        self.scratch: PoolLease | None = None
        self.output_bytes = 0
        self._parts = parts
        self._cuda = parts.bindings.cuda
        self._stream = parts.device.stream
        self._leases = ExitStack()
        self._free_output: PooledOutput | None = None
        self._output_shape: tuple[int, ...] = ()
        try:
            self._open(shared)
            self._warm()
        except BaseException:
            self.close()
            raise

    def _open(self, shared: PoolLease | None) -> None:
        plan = self._parts.plan
        made = plan.log.made
        plan.log.clear()
        strategy = self._parts.bindings.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context: trt.IExecutionContext = made(plan.engine.create_execution_context(strategy), "context")
        index = profile_for(plan.profiles, self.shape)
        made(self._context.set_optimization_profile_async(index, self._stream.handle), "switch of the profile")
        self._stream.synchronize()
        made(self._context.set_input_shape(plan.input_name, plan.input_shape(self.shape)), "room for this shape")
        if missing := self._context.infer_shapes():
            raise ModelError(f"this plan's output depends on {', '.join(missing)}, which nobody gives")
        self._take_scratch(shared)
        self._input = self._leased(plan.input_bytes(self.shape))
        made(self._context.set_tensor_address(plan.input_name, self._input.address), "place for the input")
        self._take_output(tuple(self._context.get_tensor_shape(plan.output_name)))

    def _take_scratch(self, shared: PoolLease | None) -> None:
        """Give the context the shared scratch memory, or its own where that is too small."""
        size_bytes = self._context.update_device_memory_size_for_shapes()
        if size_bytes < 1:
            return
        if shared is not None and shared.size_bytes >= size_bytes:
            self.scratch = shared
        else:
            self.scratch = self._leased(size_bytes)
        self._context.set_device_memory(self.scratch.address, self.scratch.size_bytes)

    def _take_output(self, shape: tuple[int, ...]) -> None:
        """Set memory aside for the output; where its size is free, TensorRT asks for it during the run."""
        plan = self._parts.plan
        if shape and min(shape) >= 0:
            self._output_shape = shape
            self.output_bytes = prod(shape) * np.dtype(plan.output_type).itemsize
            self._output = self._leased(self.output_bytes)
            is_set = self._context.set_tensor_address(plan.output_name, self._output.address)
        else:
            self._free_output = new_output(self._parts.bindings.trt, self._parts.pool)
            self._leases.callback(self._free_output.close)
            self.output_bytes = self._context.get_max_output_size(plan.output_name)
            is_set = self._context.set_output_allocator(plan.output_name, self._free_output)  # type: ignore[arg-type, unused-ignore]
        plan.log.made(is_set, "place for the output")

    def _warm(self) -> None:
        """Run once, then capture: what a first run allocates and a graph may not is there by then."""
        self._enqueue_checked()
        self._stream.synchronize()
        driver = self._parts.bindings.graphs
        if driver is None or self._free_output is not None:  # such an output has another address every time
            return
        try:
            self.graph = CudaGraph.captured(driver, self._stream.handle, self._enqueue)
        except (CudaCallError, ModelError) as error:
            LOG.info("no CUDA graph for %s, it is run plainly: %s", self.shape, str(error))
            self._parts.device.check_alive()

    def run(self, source: NDArray[np.uint8], target: NDArray[np.uint8]) -> tuple[int, ...]:
        """Run what lies in `source`, leave the output in `target`, both page-locked, and return the output's shape.

        When this returns, the device is through with both; when it raises, that is for the caller to wait for.
        """
        self._cuda.memcpy_htod_async(self._input.address, source, self._stream)
        if self._free_output is not None:
            self._enqueue_checked()
            self._stream.synchronize()
            return self._fetched(self._free_output, target)
        if self.graph is None:
            self._enqueue_checked()
            self._fetch(target)
        else:
            sequence = self.graph.launch(self._stream.handle)
            try:
                self._fetch(target)
            except BaseException:
                self._stream.synchronize()  # or the launch would count as on its way for ever
                self.graph.complete(sequence)
                raise
            self.graph.complete(sequence)
        return self._output_shape

    def _enqueue_checked(self) -> None:
        """Put the batch on the stream; where TensorRT refuses, find out whether the GPU is lost."""
        try:
            self._enqueue()
        except SightlineError:
            self._parts.device.check_alive()
            raise

    def _enqueue(self) -> None:
        """Put the batch on the stream, also one that is being captured."""
        if self._context.execute_async_v3(self._stream.handle):
            return
        if self._free_output is not None and self._free_output.error is not None:
            error, self._free_output.error = self._free_output.error, None
            raise error
        raise ModelError(f"TensorRT refuses to run this batch: {self._parts.plan.log.last_words()}")

    def _fetch(self, target: NDArray[np.uint8]) -> None:
        self._cuda.memcpy_dtoh_async(target[: self.output_bytes], self._output.address, self._stream)
        self._stream.synchronize()

    def _fetched(self, output: PooledOutput, target: NDArray[np.uint8]) -> tuple[int, ...]:
        """Copy an output by allocator, whose shape is known now."""
        size_bytes = prod(output.shape) * np.dtype(self._parts.plan.output_type).itemsize
        if not output.shape or output.shape[0] != self.shape.batch or size_bytes > len(target):
            raise ModelError(f"this plan gives {output.shape} for {self.shape.batch} pictures")
        if size_bytes:
            self._cuda.memcpy_dtoh_async(target[:size_bytes], output.address, self._stream)
            self._stream.synchronize()
        return output.shape

    def _leased(self, size_bytes: int) -> PoolLease:
        lease = self._parts.pool.lease(size_bytes)
        self._leases.callback(lease.release)
        return lease

    def close(self) -> None:
        """Give graph, context and memory back, in that order; harmless when repeated. The stream must be idle."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.close()
        vars(self).pop("_context", None)
        self._leases.close()
