"""The Serve configuration inside a RayService, which the API server takes as any string.

Keys are compared with Serve's own, since Serve ignores a misspelt one; a test holds the lists equal to Ray's schema.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import InvalidRequestError
from app.settings import Settings
from kuberay.manifest import entries, read_yaml, section, shown, whole

Finding = tuple[str, str]
"""A path below serveConfigV2 (empty for all of it), and what is wrong there."""

TOP_KEYS = frozenset(
    [
        "applications",
        "controller_options",
        "grpc_options",
        "http_options",
        "logging_config",
        "proxy_location",
        "target_capacity",
        "tracing_config",
    ]
)
APPLICATION_KEYS = frozenset(
    [
        "name",
        "route_prefix",
        "import_path",
        "runtime_env",
        "host",
        "port",
        "args",
        "deployments",
        "logging_config",
        "external_scaler_enabled",
        "autoscaling_policy",
    ]
)
DEPLOYMENT_KEYS = frozenset(
    [
        "autoscaling_config",
        "backpressure_config",
        "deployment_actors",
        "gang_scheduling_config",
        "graceful_shutdown_timeout_s",
        "graceful_shutdown_wait_loop_s",
        "health_check_period_s",
        "health_check_timeout_s",
        "logging_config",
        "max_ongoing_requests",
        "max_queued_requests",
        "max_replicas_per_node",
        "max_surge_percent",
        "name",
        "num_replicas",
        "placement_group_bundle_label_selector",
        "placement_group_bundles",
        "placement_group_strategy",
        "ray_actor_options",
        "request_router_config",
        "rolling_update_percentage",
        "user_config",
    ]
)
_EVER_S = 1e6
DEPLOYMENTS = ("Ingress", "Decoder", "Preprocessor", "Detector", "Tracker")


def serve_findings(text: object) -> Iterator[Finding]:
    """Yield everything that is wrong with the text of a `serveConfigV2`."""
    if not isinstance(text, str):
        yield "", "must be a string of YAML"
        return
    try:
        config = _read(text)
    except InvalidRequestError as error:
        yield "", error.detail.removeprefix("it ")
        return
    if not isinstance(config, Mapping) or not entries(config.get("applications")):
        yield "", "must have a list of applications"
        return
    yield from _unknown(config, TOP_KEYS, "")
    if "target_capacity" in config:
        yield "target_capacity", "must be left to the operator, which writes it during an upgrade"
    for index, application in enumerate(entries(config["applications"])):
        yield from _application(application, f"applications[{index}]")


def drain_s(text: object) -> float:
    """Longest time in seconds that a replica of a `serveConfigV2` may take to finish; Serve's 20 s where none says."""
    try:
        config = _read(text) if isinstance(text, str) else None
    except InvalidRequestError:
        config = None
    waits = [
        deployment.get("graceful_shutdown_timeout_s", 20)
        for application in entries(section(config).get("applications"))
        for deployment in entries(application.get("deployments"))
    ]
    return max((float(wait) for wait in waits if isinstance(wait, int | float) and 0 <= wait < _EVER_S), default=20.0)


def _read(text: str) -> object:
    documents = read_yaml(text, name="it")
    return documents[0] if len(documents) == 1 else None


def _application(application: Mapping[str, Any], where: str) -> Iterator[Finding]:
    yield from _unknown(application, APPLICATION_KEYS, where)
    path = application.get("import_path")
    if not isinstance(path, str) or ":" not in path:
        yield f"{where}.import_path", "must be module:name"
    try:
        Settings.model_validate(application.get("args") or {})
    except ValueError as error:
        yield from _settings(error, where)
    names: set[str] = set()
    for index, deployment in enumerate(entries(application.get("deployments"))):
        yield from _deployment(deployment, f"{where}.deployments[{index}]", names)
        names.add(str(deployment.get("name")) if isinstance(deployment.get("name"), str) else "")


def _deployment(deployment: Mapping[str, Any], where: str, before: set[str]) -> Iterator[Finding]:
    yield from _unknown(deployment, DEPLOYMENT_KEYS, where)
    name = deployment.get("name")
    if name not in DEPLOYMENTS:
        yield f"{where}.name", f"{shown(name)} is none of {', '.join(DEPLOYMENTS)}"
    elif name in before:
        yield f"{where}.name", f"{name!r} is there twice"
    replicas = deployment.get("num_replicas")
    if replicas not in (None, "auto") and (whole(replicas) is None or replicas < 1):
        yield f"{where}.num_replicas", f"is {shown(replicas)} and must be a whole number of at least 1, or auto"
    scaling = section(deployment, "autoscaling_config")
    least, most = whole(scaling.get("min_replicas", 1)), whole(scaling.get("max_replicas", 100))
    if least is None or most is None:
        yield f"{where}.autoscaling_config", "must have whole numbers as min_replicas and max_replicas"
    elif least > most:
        yield f"{where}.autoscaling_config.min_replicas", f"is {least}, more than max_replicas {most}"
    gpus = section(deployment, "ray_actor_options").get("num_gpus", 0)
    if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not gpus >= 0:
        yield f"{where}.ray_actor_options.num_gpus", f"is {shown(gpus)} and must be a number of GPUs"
    elif isinstance(gpus, float) and gpus > 1 and not gpus.is_integer():
        yield f"{where}.ray_actor_options.num_gpus", f"is {gpus}; above 1 only whole GPUs can be given"


def _unknown(given: Mapping[str, Any], known: frozenset[str], where: str) -> Iterator[Finding]:
    for key in given:
        if key not in known:
            yield f"{where}.{key}".lstrip("."), "is not a key of Serve, which would ignore it"


def _settings(error: ValueError, where: str) -> Iterator[Finding]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        yield f"{where}.args", "is refused by the service"
        return
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in one["loc"])
        yield f"{where}.args.{path}", f"is refused by the service: {one['msg'].rstrip('.')}"
