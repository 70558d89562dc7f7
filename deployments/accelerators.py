"""What a replica is given of the machine's GPUs: one, a fraction of one, or the sight of none."""

from typing import Any

_WHOLE = 1.0


def actor_options(num_gpus: float, *, num_cpus: float = 1.0) -> dict[str, Any]:
    """The `ray_actor_options` of a replica with so many GPUs; ValueError for more than one that are not whole.

    With `num_gpus` 1 each replica sees the one GPU that is its own, as device 0. With a fraction several see the same
    one, and nothing keeps one from the memory of another: each bounds its own. With 0 the replica sees none: Ray would
    leave `CUDA_VISIBLE_DEVICES` as it is, and every CPU stage would open a context on every GPU.
    """
    if num_gpus < 0 or (num_gpus > _WHOLE and num_gpus % _WHOLE):
        raise ValueError("a replica has a fraction of one GPU or whole ones")
    if num_gpus:
        return {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return {"num_cpus": num_cpus, "num_gpus": 0, "runtime_env": {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}}
