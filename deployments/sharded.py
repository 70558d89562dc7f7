"""The detector as gangs, for a model that one GPU does not hold: stands where `Detector` stands in the graph."""

from ray import serve
from ray.serve import Application
from ray.serve.config import GangSchedulingConfig, RequestRouterConfig

from app.settings import ModelSettings
from deployments.accelerators import actor_options
from deployments.shards import Shard, ShardParameters
from engines.parts import read_parts

_TO_RANK_0 = RequestRouterConfig(
    request_router_class="deployments.gang_router:GangRouter",  # type: ignore[arg-type]
)
_HEALTH_PERIOD_S = 1.0
"""A member's death is seen within that; until the gang is stopped, rank 0 answers `unavailable`."""


def sharded_detector(
    model: ModelSettings,
    parameters: ShardParameters,
    *,
    gangs: int = 1,
    num_gpus: float = 1.0,
    kind: type[Shard] = Shard,
) -> Application:
    """So many gangs of one replica a part, all members of a gang near each other and all of them or none.

    `num_replicas` of this deployment in a configuration file must be a multiple of the number of parts.
    """
    size = len(read_parts(parameters.parts).parts)
    shard = serve.deployment(
        name="Shard",
        num_replicas=gangs * size,
        gang_scheduling_config=GangSchedulingConfig(gang_size=size),
        request_router_config=_TO_RANK_0,
        ray_actor_options=actor_options(num_gpus),
        max_ongoing_requests=100,
        health_check_period_s=_HEALTH_PERIOD_S,
    )(kind)
    return shard.bind(model, parameters)
