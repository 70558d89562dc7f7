"""For each alert a course of its metrics that must call somebody, and a near one that must not."""

from dataclasses import dataclass

STEP_S = 5
"""Between two scrapes; values are written as promtool has them, `value x times`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series by name; `fires` calls at `at`, and not at `before`; `quiet` calls at neither."""

    fires: dict[str, str]
    quiet: dict[str, str]
    before: str
    at: str


def _gauge(name: str, value: float, near: float, *, at: str, before: str = "0s") -> Case:
    return Case(fires={name: f"{value:g}x600"}, quiet={name: f"{near:g}x600"}, before=before, at=at)


_V = 'model="street", version="1.0.0"'
_FRAMES = "ray_sightline_service_frames_total"


def _ends(status: str, often: int, of: int) -> dict[str, str]:
    return {
        f'{_FRAMES}{{kind="still", status="{status}", reason="unavailable"}}': f"0x12 0+{often}x240",
        f'{_FRAMES}{{kind="still", status="result", reason=""}}': f"0+{of}x252",
        f'{_FRAMES}{{kind="probe", status="{status}", reason="unavailable"}}': "0+1000x252",
    }


def _slower(name: str, labels: str, bound: str, *, at: str, before: str) -> Case:
    """A histogram of which all is above `bound`, and one of which all is not."""

    def series(under: int) -> dict[str, str]:
        return {
            f'{name}_bucket{{{labels}, le="{bound}"}}': f"0+{under}x600",
            f'{name}_bucket{{{labels}, le="2.5"}}': "0+10x600",
            f'{name}_bucket{{{labels}, le="+Inf"}}': "0+10x600",
        }

    return Case(fires=series(1), quiet=series(10), before=before, at=at)


CASES = {
    "SightlineNotReady": Case(
        fires={'kuberay_service_condition_ready{name="sightline", condition="false"}': "1x600"},
        quiet={'kuberay_service_condition_ready{name="sightline", condition="true"}': "1x600"},
        before="4m50s",
        at="5m5s",
    ),
    "SightlineUpgradeStuck": Case(
        fires={'kuberay_service_condition_upgrade_in_progress{name="sightline", condition="true"}': "1x600"},
        quiet={'kuberay_service_condition_upgrade_in_progress{name="sightline", condition="false"}': "1x600"},
        before="29m50s",
        at="30m5s",
    ),
    "SightlineNoFrames": Case(
        fires={"up": "0x100"},
        quiet={f'{_FRAMES}{{kind="probe", status="result", reason=""}}': "0+1x100"},
        before="50s",
        at="65s",
    ),
    # from the 60th second on, one in two
    "SightlineErrors": Case(fires=_ends("error", 50, 50), quiet=_ends("error", 2, 98), before="60s", at="75s"),
    "SightlineDrops": Case(fires=_ends("dropped", 50, 50), quiet=_ends("dropped", 10, 90), before="5m", at="7m"),
    "SightlineQueue": _slower("ray_sightline_detector_wait_seconds", _V, "0.25", before="1m50s", at="2m30s"),
    "SightlineResultsOld": _slower(
        "ray_sightline_service_result_age_seconds", 'kind="stream"', "1.0", before="55s", at="90s"
    ),
    "SightlineSlowInference": _slower(
        "ray_sightline_detector_inference_seconds", f'{_V}, batch="8"', "0.5", before="4m50s", at="5m30s"
    ),
    "SightlineVramHigh": Case(
        fires={
            'ray_sightline_gpu_vram_used_bytes{device="0"}': "50x11 93x50",
            'ray_sightline_gpu_vram_total_bytes{device="0"}': "100x60",
        },
        quiet={
            'ray_sightline_gpu_vram_used_bytes{device="0"}': "50x11 91x50",
            'ray_sightline_gpu_vram_total_bytes{device="0"}': "100x60",
        },
        before="60s",
        at="75s",
    ),
    "SightlineEngineLoadFailures": Case(
        fires={f"ray_sightline_detector_engine_load_failures_total{{{_V}}}": "0x11 7x50"},
        quiet={f"ray_sightline_detector_engine_load_failures_total{{{_V}}}": "0x11 4x50"},
        before="55s",
        at="70s",
    ),
    "SightlineInputMismatches": Case(
        fires={f"ray_sightline_detector_input_mismatches_total{{{_V}}}": "0x11 12x50"},
        quiet={f"ray_sightline_detector_input_mismatches_total{{{_V}}}": "0x11 9x50"},
        before="55s",
        at="70s",
    ),
    "SightlineBreakerOpen": Case(
        fires={f'ray_sightline_detector_breaker_state{{{_V}, engine="tensorrt"}}': "0x11 2x50"},
        quiet={f'ray_sightline_detector_breaker_state{{{_V}, engine="tensorrt"}}': "0x11 1x50"},
        before="60s",
        at="75s",
    ),
    "SightlineDegraded": _gauge(f"ray_sightline_detector_degraded_ratio{{{_V}}}", 1, 0, before="9m50s", at="10m5s"),
    "SightlineGpuBusy": _gauge(
        'ray_sightline_gpu_utilisation_ratio{device="0"}', 0.9, 0.84, before="9m50s", at="10m5s"
    ),
    "SightlinePcieBusy": _gauge(
        'ray_sightline_gpu_pcie_utilisation_ratio{device="0"}', 0.85, 0.79, before="4m50s", at="5m5s"
    ),
    "SightlineGpuXid": Case(
        fires={'DCGM_FI_DEV_XID_ERRORS{gpu="0"}': "0x11 79x50"},
        quiet={'DCGM_FI_DEV_XID_ERRORS{gpu="0"}': "0x62"},
        before="55s",
        at="65s",
    ),
    "SightlineReconnects": Case(
        fires={'ray_sightline_tracker_reconnects_total{reason="unreachable"}': "0+1x100"},
        quiet={'ray_sightline_tracker_reconnects_total{reason="unreachable"}': "0 0 0+1x20 20x100"},
        before="1m",
        at="5m",
    ),
}
