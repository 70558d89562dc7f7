"""The graph: five deployments, or one that holds every stage; only here do classes become deployments."""

from ray import serve
from ray.serve import Application
from ray.serve.config import RequestRouterConfig

from app.settings import Settings
from deployments.detector import Detector
from deployments.ingress import Ingress
from deployments.sharded import sharded_detector
from deployments.shards import ShardParameters
from deployments.stages import Decoder, Preprocessor
from deployments.tracker import Tracker
from engines.opening import read_spec

# A video lives in one decoder and one tracker, a stream in one tracker: calls go to the replica of its id.
_STICKY = RequestRouterConfig(
    request_router_class="deployments.routing:SessionRouter",  # type: ignore[arg-type]
)


def build(args: Settings) -> Application:
    """The application of serve_config.yaml; `args` are its settings."""
    spec = read_spec(args.model.file, kind=args.model.runtime)
    ingress = serve.deployment(name="Ingress")(serve.ingress()(Ingress))
    if args.layout == "colocated":
        return ingress.bind(args, spec)
    decoder = serve.deployment(name="Decoder", request_router_config=_STICKY)(Decoder)
    preprocessor = serve.deployment(name="Preprocessor")(Preprocessor)
    stages = {
        "decoder": decoder.bind(spec, args.decoder, telemetry=args.telemetry),
        "preprocessor": preprocessor.bind(spec, steps=args.steps, telemetry=args.telemetry),
        "detector": _detector(args),
    }
    tracker = serve.deployment(name="Tracker", request_router_config=_STICKY)(Tracker).bind(args, spec, **stages)
    return ingress.bind(args, spec, **stages, tracker=tracker)


def _detector(settings: Settings) -> Application:
    """Replicas of the whole model, or gangs of replicas that have a part of it each."""
    parts = settings.model.parts_folder
    if parts is None:
        return serve.deployment(name="Detector")(Detector).bind(settings)
    return sharded_detector(settings.model, ShardParameters(parts=parts))
