from collections.abc import Callable
from dataclasses import fields

import pytest

from app.policy.fault_plan import (
    FAULTS,
    TABLE,
    Fault,
    GpuOom,
    LinkDegradation,
    SlowKernel,
    StickyError,
    row_of,
    runbook,
)

KINDS = [
    "gpu_oom",
    "sticky_error",
    "context_loss",
    "link_degradation",
    "slow_kernel",
    "corrupt_plan",
    "engine_load_failure",
]


def test_every_fault_has_exactly_one_row_and_the_kind_that_it_says() -> None:
    assert [row.fault for row in TABLE] == list(FAULTS)
    assert [row.kind for row in TABLE] == KINDS
    assert [row_of(kind()).kind for kind in FAULTS] == KINDS


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_can_be_planted_without_a_number_and_says_what_it_is(kind: type[Fault]) -> None:
    assert kind() == kind()
    assert kind.__doc__
    assert fields(kind)[0].name == "kind"


def test_every_row_says_what_the_service_does() -> None:
    assert all(row.responses and row.status and row.on_a_gpu for row in TABLE)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: GpuOom(share=0),
        lambda: GpuOom(share=1.01),
        lambda: GpuOom(share=float("nan")),
        lambda: LinkDegradation(generation=0),
        lambda: LinkDegradation(generation=7),
        lambda: LinkDegradation(lanes=3),
        lambda: SlowKernel(factor=0.5),
        lambda: SlowKernel(factor=float("inf")),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(wrong: Callable[[], Fault]) -> None:
    with pytest.raises(ValueError, match="must"):
        wrong()


def test_the_runbook_has_one_line_per_fault_and_names_error_and_response() -> None:
    lines = [line for line in runbook().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == KINDS
    sticky = next(line for line in lines if row_of(StickyError()).kind in line)
    assert "`DeviceLostError` (503 `device_lost`)" in sticky
    assert "exits and is replaced" in sticky
    assert all(line.count(" | ") == 6 for line in lines)
