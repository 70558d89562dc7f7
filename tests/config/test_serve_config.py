from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve import Application
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from app.settings import ROOT, Settings
from deployments.application import build

CONFIGS = [ROOT / "serve_config.yaml", ROOT / "deployments" / "colocated.yaml"]


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def names_of(application: Application) -> set[str]:
    """The deployments that a bound application consists of."""
    deployment = application._bound_deployment
    bound = [*deployment.init_args, *deployment.init_kwargs.values()]
    return {deployment.name}.union(*(names_of(part) for part in bound if isinstance(part, Application)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configuration_is_a_serve_configuration(path: Path) -> None:
    parsed = ServeDeploySchema.model_validate(load(path))
    assert [application.import_path for application in parsed.applications] == ["deployments.application:build"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_no_key_is_misspelt(path: Path) -> None:
    """Serve ignores unknown keys silently (facts/ray-serve.md §7.1)."""
    config = load(path)
    assert set(config) <= set(ServeDeploySchema.model_fields)
    for application in config["applications"]:
        assert set(application) <= set(ServeApplicationSchema.model_fields)
        for deployment in application["deployments"]:
            assert set(deployment) <= set(DeploymentSchema.model_fields)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_deployments_named_are_those_that_are_built(path: Path) -> None:
    application = load(path)["applications"][0]
    # Without a model, so that this test needs no weights.
    args = Settings.model_validate({**application["args"], "model": {"engine": "reference"}})
    assert {deployment["name"] for deployment in application["deployments"]} == names_of(build(args))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_deployment_has_its_own_limits_and_resources(path: Path) -> None:
    for deployment in load(path)["applications"][0]["deployments"]:
        assert deployment["max_ongoing_requests"] > 0
        assert deployment["max_queued_requests"] > 0
        assert deployment["ray_actor_options"]["num_cpus"] > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_settings_are_read_from_the_configuration(path: Path) -> None:
    args = load(path)["applications"][0]["args"]
    assert Settings.model_validate(args).layout == args["layout"]


@pytest.mark.parametrize(
    "args",
    [
        {"layuot": "staged"},
        {"model": {"engin": "auto"}},
        {"decoder": {"worker": 3}},
        {"decoder": {"limits": {"max_pixel": 3}}},
        {"tracker": {"max_lost": 3}},
        {"batching": {"size": 3}},
        {"service": {"fetch": {"hosts": ["images.example.com"]}}},
        {"service": {"fetch": {"allowed_hosts": ["https://images.example.com"]}}},
        {"steps": [{"kind": "clahe", "clip": 3}]},
        {"steps": [{"kind": "nothing"}]},
        {"steps": [{"kind": "clahe", "when": {"attribute": "width_px", "op": "~", "value": 3}}]},
    ],
)
def test_an_unknown_key_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(args)


def test_steps_are_declared_in_order_each_with_its_condition() -> None:
    args = {
        "steps": [
            {"kind": "max_side", "px": 1280, "when": {"attribute": "width_px", "op": ">", "value": 1024}},
            {"kind": "clahe", "clip_limit": 3.0},
        ]
    }
    first, second = Settings.model_validate(args).steps
    assert (first.kind, second.kind) == ("max_side", "clahe")
    assert first.when is not None
    assert first.when.value == 1024
