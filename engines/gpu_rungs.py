"""The engines that a GPU offers: TensorRT's, where a plan was built for this machine, then ONNX Runtime's."""

from pathlib import Path

from app.core.errors import ModelError, UnavailableError
from app.core.ports import Engine
from engines.cuda.bindings import Bindings, load_bindings
from engines.cuda.device import Device
from engines.model_file import ModelFile
from engines.plan_key import PlanCache
from engines.rungs import Rung
from engines.tensorrt_build import BuildOptions, key_for, target_of
from engines.tensorrt_engine import TensorRtEngine

PLANS_FOLDER = "plans"


def gpu_rungs(file: ModelFile, model: Path, *, max_batch: int) -> list[Rung]:
    """Return what a GPU may offer, best first; whether it does shows when it is opened."""
    return [
        Rung(name="tensorrt", open=lambda: open_tensorrt(file, model, max_batch=max_batch)),
        Rung(name="onnxruntime on the GPU", open=lambda: _onnxruntime(file)),
    ]


def open_tensorrt(
    file: ModelFile,
    model: Path,
    *,
    max_batch: int,
    bindings: Bindings | None = None,
    options: BuildOptions | None = None,
) -> Engine:
    """Return the engine of the plan that was built for this machine and lies beside the model.

    ModelError where there is none: a build takes minutes, and other engines serve meanwhile.
    """
    bindings = bindings or load_bindings()
    plan = plans_beside(model).get(machine_key(file, bindings, options or BuildOptions()))
    if plan is None:
        raise ModelError("there is no plan for this GPU; `sightline engine build` makes one")
    return TensorRtEngine(file, plan, bindings=bindings, max_batch=max_batch)


def plans_beside(model: Path) -> PlanCache:
    """Return the plans kept beside a model."""
    return PlanCache(model.resolve().parent / PLANS_FOLDER)


def machine_key(file: ModelFile, bindings: Bindings, options: BuildOptions) -> str:
    """Return the key of this model's plan on this machine; UnavailableError without a GPU."""
    device = Device(bindings)
    try:
        return device.call(lambda: key_for(file, target_of(bindings), options))
    finally:
        device.close(lambda: None)


def _onnxruntime(file: ModelFile) -> Engine:
    try:
        from engines.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine
    except ImportError as error:
        raise UnavailableError("onnxruntime is not installed") from error
    return OnnxRuntimeCudaEngine(file)
