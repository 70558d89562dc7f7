"""`/v1/autoscaling/explain`, and the command that shows and records it."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.api.autoscaling import router
from app.command import autoscale, autoscale_arguments
from app.core.errors import UnavailableError
from app.core.load_signals import LoadSignals
from app.policy.autoscaling import ScalingState, decide
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.scaling_explanation import Question, document, explained
from app.policy.scaling_trace import read_trace
from tests.api.conftest import Service
from tests.api.live_wire import behind_uvicorn

URL = "/v1/autoscaling/explain"
SIGNALS = LoadSignals(qps=200.0, vram_used=0.5, vram_dynamic=0.25, pcie=0.25)


class FakeScaling:
    """Somebody who decides, one moment later each time."""

    def __init__(self) -> None:
        self.asked = 0

    async def explain(self) -> dict[str, Any]:
        parameters = AutoscalingParameters()
        question = Question(
            signals=SIGNALS, before=ScalingState(), parameters=parameters, now_s=0.0, running=1, ordered=2
        )
        decision = decide(SIGNALS, ScalingState(), parameters, now_s=0.0, running=1, ordered=2)
        self.asked += 1
        at = f"2026-11-23T22:00:{self.asked:02}.000+00:00"
        return {"enabled": True, "decided_at": at, **document(explained(decision, question))}


@pytest.fixture
def decided() -> FastAPI:
    """A service in which somebody decides."""
    app = FastAPI()
    app.include_router(router(FakeScaling()))
    return app


def get(app: FastAPI) -> httpx.Response:
    async def inside() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(URL)

    return asyncio.run(inside())


def sightline(app: FastAPI, *words: str) -> int:
    """The exit code of `sightline autoscale` against a real server of it."""
    parser = argparse.ArgumentParser()
    autoscale_arguments.add_arguments(parser)

    async def inside() -> int:
        async with behind_uvicorn(app) as port:
            return await autoscale.run(parser.parse_args([*words, "--url", f"http://127.0.0.1:{port}"]))

    return asyncio.run(inside())


def test_a_decision_is_told_whole_and_kept_by_no_cache(decided: FastAPI) -> None:
    answer = get(decided)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert [term["signal"] for term in told["terms"]] == ["qps", "vram", "pcie"]
    assert sum(term["term"] for term in told["terms"]) == pytest.approx(told["score"])
    assert (told["verdict"], told["ordered"], told["running"]) == ("hold", 2, 1)
    assert told["guards"]
    assert told["would_change"]


def test_a_service_with_a_fixed_number_of_replicas_says_so() -> None:
    told = get(Service().app).json()
    assert told["enabled"] is False
    assert "no replicas" in told["words"]


def test_the_command_shows_a_decision_in_words(decided: FastAPI, capfd: pytest.CaptureFixture[str]) -> None:
    assert sightline(decided, "explain") == 0
    told = capfd.readouterr().out
    assert "0.40 x 2.000 = 0.800" in told
    assert "would change it: out: more than" in told


def test_the_command_says_when_nobody_decides(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    app = Service().app
    assert sightline(app, "explain") == 1
    assert "no replicas" in capfd.readouterr().out
    with pytest.raises(UnavailableError):
        sightline(app, "record", str(tmp_path / "trace.csv"))


def test_what_is_recorded_of_a_service_can_be_replayed(decided: FastAPI, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    assert sightline(decided, "record", str(trace), "--seconds", "0.7") == 0
    rows = read_trace(trace.read_text("utf-8").splitlines())
    assert len(rows) == 2
    assert {row.signals for row in rows} == {SIGNALS}
    assert {(row.running, row.ordered) for row in rows} == {(1, 2)}
