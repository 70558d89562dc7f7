import pytest

from app.policy.gpu_alerts import Action, Level, alerts


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"memory_ratio": 0.92, "load_failures": 5, "shape_mismatches": 10}, []),
        ({"memory_ratio": 0.921}, [(Level.P1, Action.RESTART_REPLICA)]),
        ({"load_failures": 6}, [(Level.P0, Action.USE_ONNX_RUNTIME)]),
        ({"shape_mismatches": 11}, [(Level.P2, Action.FREEZE_BATCH)]),
    ],
)
def test_each_number_alarms_beyond_its_mark(numbers: dict[str, float], expected: list[tuple[Level, Action]]) -> None:
    assert [(alert.level, alert.action) for alert in alerts(**numbers)] == expected  # type: ignore[arg-type]


def test_the_most_urgent_comes_first() -> None:
    found = alerts(memory_ratio=1.0, load_failures=9, shape_mismatches=99)
    assert [alert.level for alert in found] == [Level.P0, Level.P1, Level.P2]
    assert found[1].reason == "the GPU's memory is 100% full"
