"""The account of a GPU's memory: a model is let in by what it will need, before it is loaded. Source: MISSION 27, 81.

Kubernetes and Ray divide GPUs, not their memory, and CUDA refuses only once it is full, to whoever asks next. So the
ledger holds promises, not measurements: what was reserved counts from the reservation on, used or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from app.core.errors import DeviceMemoryError

MIB: Final = 1024**2
GIB: Final = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class VramBudget:
    """The most that one tenant or model may hold: bytes, and execution contexts; None is without bound of its own."""

    max_bytes: int | None = None
    max_contexts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VramLimits:
    """`total_bytes` for the whole replica; tenants and models may have budgets of their own beneath it."""

    total_bytes: int = 16 * GIB  # Source: MISSION row 27
    tenants: Mapping[str, VramBudget] = field(default_factory=dict)
    models: Mapping[str, VramBudget] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VramNeed:
    """What a load will take: the weights once, and the activations of each profile, which has a context of its own.

    ValueError for a number below 0.
    """

    model: str
    tenant: str = ""
    weights_bytes: int
    activations_bytes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min((self.weights_bytes, *self.activations_bytes)) < 0:
            raise ValueError("a model needs no less than nothing")

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + sum(self.activations_bytes)

    @property
    def contexts(self) -> int:
        """How many execution contexts."""
        return len(self.activations_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class VramLease:
    """Memory promised to one load, until it is released."""

    number: int
    need: VramNeed


@dataclass(slots=True)
class VramLedger:
    """The leases of one GPU, or of the part of it that one replica may use. Not for several threads at once."""

    limits: VramLimits = field(default_factory=VramLimits)
    _leases: dict[int, VramLease] = field(default_factory=dict, init=False)
    _numbers: "count[int]" = field(default_factory=count, init=False)

    @property
    def used_bytes(self) -> int:
        """What is promised."""
        return sum(lease.need.bytes for lease in self._leases.values())

    @property
    def free_bytes(self) -> int:
        """What may still be promised."""
        return self.limits.total_bytes - self.used_bytes

    @property
    def used_ratio(self) -> float:
        """The share of all that is promised; 1 where there is nothing to promise."""
        return self.used_bytes / self.limits.total_bytes if self.limits.total_bytes > 0 else 1.0

    def reserve(self, need: VramNeed) -> VramLease:
        """A lease for `need`; DeviceMemoryError names the budget that it does not fit, and nothing is held then."""
        if need.bytes > self.free_bytes:
            raise DeviceMemoryError(
                f"the model needs {_mib(need.bytes)} MiB of GPU memory and {_mib(self.free_bytes)} MiB are left"
            )
        tenants = [lease.need for lease in self._leases.values() if lease.need.tenant == need.tenant]
        models = [lease.need for lease in self._leases.values() if lease.need.model == need.model]
        _check(self.limits.tenants.get(need.tenant), [*tenants, need], whose="the tenant")
        _check(self.limits.models.get(need.model), [*models, need], whose="the model")
        lease = VramLease(number=next(self._numbers), need=need)
        self._leases[lease.number] = lease
        return lease

    def release(self, lease: VramLease) -> None:
        """Give the memory back; a lease that was given back already changes nothing, since shutdowns meet twice."""
        self._leases.pop(lease.number, None)


def _check(budget: VramBudget | None, needs: list[VramNeed], *, whose: str) -> None:
    if budget is None:
        return
    total_bytes, contexts = sum(need.bytes for need in needs), sum(need.contexts for need in needs)
    if budget.max_bytes is not None and total_bytes > budget.max_bytes:
        raise DeviceMemoryError(
            f"{whose} would hold {_mib(total_bytes)} MiB of GPU memory and may hold {_mib(budget.max_bytes)} MiB"
        )
    if budget.max_contexts is not None and contexts > budget.max_contexts:
        raise DeviceMemoryError(f"{whose} would hold {contexts} contexts on the GPU and may hold {budget.max_contexts}")


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)
