"""Every knob in one place: the parameters that lie beside the code they turn, gathered and checked."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, with_config

from app.core.tenant import Tenant
from app.delivery.parameters import DeliveryParameters, KafkaCluster, MqttBroker, WebhookParameters
from app.delivery.retry import RetryPolicy
from app.media.fetch_guard import FetchParameters
from app.media.limits import DecodeLimits
from app.media.pull.parameters import PullParameters
from app.pipeline.decoder import DecoderParameters
from app.pipeline.model_records import RegistryParameters
from app.pipeline.sampler import TelemetryParameters
from app.pipeline.serving import ServingParameters
from app.pipeline.surroundings import StreamLimits
from app.pipeline.tenants import tenants_of
from app.policy.batching import BatchLimits
from app.policy.canary import CanaryParameters
from app.tracking.parameters import TrackerParameters
from app.vision.postprocess import Thresholds
from app.vision.steps import Clahe, Grey, MaxSide, When

ROOT = Path(__file__).resolve().parent.parent
"""Where relative paths of the configuration start."""

_STRICT = ConfigDict(extra="forbid")
for _knobs in (DecodeLimits, DecoderParameters, BatchLimits, TrackerParameters, Thresholds, Clahe, Grey, MaxSide, When):
    with_config(_STRICT)(_knobs)
with_config(_STRICT)(FetchParameters)
for _more in (
    StreamLimits,
    PullParameters,
    DeliveryParameters,
    KafkaCluster,
    MqttBroker,
    WebhookParameters,
    RetryPolicy,
    RegistryParameters,
    CanaryParameters,
    TelemetryParameters,
):
    with_config(_STRICT)(_more)


StepSettings: TypeAlias = Annotated[Clahe | Grey | MaxSide, Field(discriminator="kind")]


class ModelSettings(BaseModel):
    """Which model, and what runs it; `streams` None takes what a start-up probe finds fastest.

    With `parts`, a folder that `engines.split` wrote, the deployment Shard takes the place of Detector: a gang of
    replicas that hold one part each.

    `store` is a folder laid out as `<model>/<version>/`, and what is in it must be signed by one of `trusted_keys`
    where there are any. `policy` cuts batches, so that an answer comes within `slo_s` where that can be.

    With `degrade`, live streams and requests with a deadline get less while frames wait longer than `slo_s`: smaller
    input, then fewer frames, then nothing for low priorities. `vram_bytes` is what models may take of the GPU's memory.
    """

    model_config = _STRICT

    path: Path = Path("engines/models/street/1.0.0/model.onnx")
    engine: Literal["auto", "reference", "onnxruntime", "openvino", "tensorrt", "fake-gpu"] = "auto"
    streams: Annotated[int | None, Field(ge=1, le=256)] = None
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8
    policy: Literal["deadline", "formula-001", "state-machine-001"] = "deadline"
    slo_s: Annotated[float, Field(gt=0)] = 0.25
    thresholds: Thresholds = Thresholds()
    parts: Path | None = None
    store: Path = Path("engines/models")
    trusted_keys: tuple[Path, ...] = ()
    degrade: bool = False
    vram_bytes: Annotated[int | None, Field(ge=1)] = None

    @property
    def parts_folder(self) -> Path | None:
        """Where the parts of a model lie that was cut by `engines.split`, absolute; None for a model in one piece."""
        return None if self.parts is None else ROOT / self.parts

    @property
    def store_folder(self) -> Path:
        """Where versions are found that are asked for while the service runs, absolute."""
        return ROOT / self.store

    @property
    def runtime(self) -> Literal["auto", "reference", "onnxruntime", "openvino", "tensorrt"]:
        """What computes; a fake GPU lets the CPU do that."""
        return "auto" if self.engine == "fake-gpu" else self.engine

    @property
    def serving(self) -> ServingParameters:
        """How each version is served."""
        return ServingParameters(
            policy=self.policy,
            max_batch=self.max_batch,
            slo_s=self.slo_s,
            degrade=self.degrade,
            thresholds=self.thresholds,
        )

    @property
    def file(self) -> Path | None:
        """The model file, absolute; None for the engine that has no model."""
        return None if self.engine == "reference" else ROOT / self.path


class ServiceSettings(BaseModel):
    """What one ingress replica takes in. Images, bytes and seconds."""

    model_config = _STRICT

    max_image_bytes: Annotated[int, Field(ge=1)] = 32 * 1024**2
    max_parts: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_multipart_bytes: Annotated[int, Field(ge=1)] = 128 * 1024**2
    body_budget_bytes: Annotated[int, Field(ge=1)] = 512 * 1024**2
    ready_s: Annotated[float, Field(gt=0)] = 5.0
    fetch: FetchParameters = FetchParameters()


class TenantSettings(BaseModel):
    """One entry of the tenants' file: a key, by its SHA-256, and whose it is."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=100)]
    key_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    frames_per_s: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    burst_frames: Annotated[int, Field(ge=1)] = 60
    max_streams: Annotated[int | None, Field(ge=0)] = None
    is_operator: bool = False

    @property
    def tenant(self) -> Tenant:
        """Whose key it is."""
        return Tenant(**self.model_dump(exclude={"key_sha256"}))


class Settings(BaseModel):
    """The `args` of the application in serve_config.yaml; an unknown key is refused.

    `video_batches` micro-batches of `video_batch` frames of one video are on their way at once.
    With `faults` operators may plant faults in the fake GPU, to rehearse. `layout` "staged" puts every stage in a
    deployment of its own, "colocated" all of them in the ingress process. `tenants_file` is a JSON list of
    `TenantSettings`; without it nobody needs a key, and everybody sees every stream.
    """

    model_config = _STRICT

    layout: Literal["staged", "colocated"] = "staged"
    model: ModelSettings = ModelSettings()
    registry: RegistryParameters = RegistryParameters()
    faults: bool = False
    service: ServiceSettings = ServiceSettings()
    decoder: DecoderParameters = DecoderParameters()
    steps: tuple[StepSettings, ...] = ()
    tracker: TrackerParameters = TrackerParameters()
    batching: BatchLimits = BatchLimits()
    video_batch: Annotated[int, Field(ge=1, le=256)] = 8
    video_batches: Annotated[int, Field(ge=1, le=64)] = 3
    streams: StreamLimits = StreamLimits()
    pull: PullParameters = PullParameters()
    delivery: DeliveryParameters = DeliveryParameters()
    telemetry: TelemetryParameters = TelemetryParameters()
    tenants_file: Path | None = None

    def tenants(self) -> dict[str, Tenant]:
        """Tenants by the digests of their keys, from `tenants_file`; empty without one. ValueError for a bad file."""
        if self.tenants_file is None:
            return {}
        written = (ROOT / self.tenants_file).read_bytes()
        entries = TypeAdapter(Annotated[list[TenantSettings], Field(min_length=1)]).validate_json(written)
        return tenants_of([(entry.key_sha256, entry.tenant) for entry in entries])
