"""deployments/autoscaled.yaml is serve_config.yaml with a policy, and Serve's own hysteresis is off in it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from app.settings import ROOT
from deployments.autoscaling import ScalingPolicy
from deployments.load_report import LoadReport
from tests.scaling_contexts import Context, FakeBoard, Key

pytestmark = pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")
OURS = {"autoscaling_config", "num_replicas", "user_config"}


def load(path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(ROOT / path).read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def application() -> dict[str, Any]:
    found: dict[str, Any] = load("deployments/autoscaled.yaml")["applications"][0]
    return found


def fixed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what scales it."""
    plain = copy.deepcopy(config)
    for application in plain["applications"]:
        application.pop("autoscaling_policy", None)
        for deployment in application["deployments"]:
            for key in OURS:
                deployment.pop(key, None)
    return plain


def test_it_is_the_fixed_configuration_apart_from_what_scales() -> None:
    assert fixed(load("deployments/autoscaled.yaml")) == fixed(load("serve_config.yaml"))


def test_serve_takes_it_and_no_key_is_misspelt(application: dict[str, Any]) -> None:
    """Serve ignores unknown keys silently (facts/ray-serve.md §1.1)."""
    ServeDeploySchema.model_validate(load("deployments/autoscaled.yaml"))
    assert set(application) <= set(ServeApplicationSchema.model_fields)
    for deployment in application["deployments"]:
        assert set(deployment) <= set(DeploymentSchema.model_fields)
        assert set(deployment.get("autoscaling_config", {})) <= set(AutoscalingConfig.model_fields)


def test_hysteresis_is_the_policys_alone(application: dict[str, Any]) -> None:
    configs = [one["autoscaling_config"] for one in application["deployments"] if "autoscaling_config" in one]
    assert len(configs) == 4
    for given in configs:
        config = AutoscalingConfig.model_validate(given)
        assert (config.upscale_delay_s, config.downscale_delay_s) == (0, 0)
        assert config.upscaling_factor in {None, 1.0}
        assert config.downscaling_factor in {None, 1.0}


def test_the_policy_takes_its_numbers_and_the_detector_its_knobs(application: dict[str, Any]) -> None:
    board = FakeBoard()
    numbers = application["autoscaling_policy"]["policy_kwargs"]
    ScalingPolicy(board=board, **numbers)({Key("Detector"): Context(deployment_name="Detector")})  # type: ignore[arg-type]
    assert board.last["problem"] == ""
    assert board.last["parameters"]["target_qps"] == numbers["target_qps"]
    detector = next(one for one in application["deployments"] if one["name"] == "Detector")
    report = LoadReport()
    report.turn(detector["user_config"])
    assert report.stats()["knob.in_cooldown_s"] == 300.0


def test_the_laptops_configuration_has_a_fixed_number_of_replicas() -> None:
    for deployment in load("serve_config.yaml")["applications"][0]["deployments"]:
        assert deployment["num_replicas"] == 1
