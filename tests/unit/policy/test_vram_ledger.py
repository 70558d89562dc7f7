import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import DeviceMemoryError
from app.policy.vram_ledger import GIB, MIB, VramBudget, VramLease, VramLedger, VramLimits, VramNeed


def need(weights_mib: int, *activations_mib: int, model: str = "m", tenant: str = "t") -> VramNeed:
    activations_bytes = tuple(size * MIB for size in activations_mib)
    return VramNeed(model=model, tenant=tenant, weights_bytes=weights_mib * MIB, activations_bytes=activations_bytes)


def ledger(total_mib: int = 1000, **budgets: VramBudget) -> VramLedger:
    return VramLedger(VramLimits(total_bytes=total_mib * MIB, tenants=budgets, models=budgets))


def test_a_replica_has_16_gib_by_default() -> None:
    assert VramLedger().free_bytes == 16 * GIB


def test_weights_count_once_and_activations_per_profile() -> None:
    account = ledger()
    account.reserve(need(100, 50, 70, 80))
    assert (account.used_bytes, account.free_bytes) == (300 * MIB, 700 * MIB)
    assert account.used_ratio == 0.3


def test_what_does_not_fit_is_refused_with_words_and_holds_nothing() -> None:
    account = ledger()
    account.reserve(need(600))
    with pytest.raises(DeviceMemoryError, match="needs 401 MiB of GPU memory and 400 MiB are left"):
        account.reserve(need(401))
    assert account.used_bytes == 600 * MIB
    account.reserve(need(400))
    assert account.free_bytes == 0


def test_a_lease_that_is_given_back_makes_room_and_a_second_time_changes_nothing() -> None:
    account = ledger()
    first = account.reserve(need(600))
    account.release(first)
    second = account.reserve(need(1000))
    account.release(first)
    assert account.used_bytes == 1000 * MIB
    account.release(second)
    assert account.used_bytes == 0


@pytest.mark.parametrize("whose", ["tenant", "model"])
def test_a_tenant_and_a_model_have_their_own_budget(whose: str) -> None:
    account = ledger(small=VramBudget(max_bytes=300 * MIB))
    mine = {whose: "small"}
    account.reserve(need(200, **mine))
    with pytest.raises(DeviceMemoryError, match=f"the {whose} would hold 301 MiB of GPU memory and may hold 300 MiB"):
        account.reserve(need(101, **mine))
    account.reserve(need(101))


def test_the_quotas_of_the_source_hold() -> None:
    """8192 MiB with 1 context beside 4096 MiB with 2 on one GPU."""
    large, small = VramBudget(max_bytes=8192 * MIB, max_contexts=1), VramBudget(max_bytes=4096 * MIB, max_contexts=2)
    account = VramLedger(VramLimits(tenants={"large": large, "small": small}))
    account.reserve(need(6000, 2192, tenant="large"))
    account.reserve(need(2000, 1000, 1000, tenant="small", model="n"))
    with pytest.raises(DeviceMemoryError, match="the tenant would hold 2 contexts on the GPU and may hold 1"):
        account.reserve(need(0, 0, tenant="large"))
    with pytest.raises(DeviceMemoryError, match="may hold 4096 MiB"):
        account.reserve(need(97, tenant="small"))


def test_a_need_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no less than nothing"):
        need(100, -1)


def test_a_replica_without_memory_is_full() -> None:
    assert ledger(0).used_ratio == 1.0


class Tenants:
    """Loads that come and go in any order."""

    def __init__(self) -> None:
        self.account = ledger(1000, a=VramBudget(max_bytes=500 * MIB, max_contexts=3))
        self.held: list[VramLease] = []
        self.gone: list[VramLease] = []

    def play(self, wanted: VramNeed, *, releases: int, again: bool) -> None:
        try:
            self.held.append(self.account.reserve(wanted))
        except DeviceMemoryError:
            for _ in range(min(releases, len(self.held))):
                self.gone.append(self.held.pop(0))
                self.account.release(self.gone[-1])
        for lease in self.gone if again else ():
            self.account.release(lease)


NEEDS = st.builds(
    lambda weights, activations, who: need(weights, *activations, model=who, tenant=who),
    st.integers(0, 400),
    st.lists(st.integers(0, 200), max_size=3),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(st.tuples(NEEDS, st.integers(0, 3), st.booleans()), max_size=60))
def test_no_history_makes_it_negative_or_more_than_there_is(steps: list[tuple[VramNeed, int, bool]]) -> None:
    tenants = Tenants()
    for wanted, releases, again in steps:
        tenants.play(wanted, releases=releases, again=again)
        assert tenants.account.used_bytes == sum(lease.need.bytes for lease in tenants.held)
        assert 0 <= tenants.account.used_bytes <= tenants.account.limits.total_bytes
        assert sum(lease.need.bytes for lease in tenants.held if lease.need.tenant == "a") <= 500 * MIB
        assert sum(lease.need.contexts for lease in tenants.held if lease.need.tenant == "a") <= 3
