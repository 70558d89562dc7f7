import asyncio

import pytest

from app.core.errors import ConflictError, NotAcceptableError, NotFoundError
from app.pipeline.models import FixedModels
from app.policy.lifecycle import Phase
from app.policy.route_table import Ask
from tests.builders import make_spec


def test_every_frame_goes_to_the_one_version_under_the_first_epoch() -> None:
    models = FixedModels(make_spec(size_px=96))
    for ask in (Ask(), Ask(user="anna", region="eu", draw=0.99), Ask(wanted=("1.0",)), Ask(wanted=("7", None))):
        route = models.route(ask)
        assert (route.model, route.version, route.epoch, route.shadow) == ("test", "1.0.0", 1, None)
        assert (route.width_px, route.height_px) == (96, 96)
    assert models.route(Ask(), "test") == models.route(Ask())


def test_another_version_is_not_acceptable_and_another_model_not_found() -> None:
    models = FixedModels(make_spec())
    with pytest.raises(NotAcceptableError, match=r"there are 1\.0\.0"):
        models.route(Ask(wanted=("2.1",)))
    with pytest.raises(NotFoundError):
        models.route(Ask(), "other")
    with pytest.raises(NotFoundError):
        models.labels("other")
    with pytest.raises(NotFoundError):
        models.spec("test", "2.0.0")
    with pytest.raises(NotFoundError):
        models.spec("other", "1.0.0")


def test_its_spec_and_labels_are_the_models() -> None:
    models = FixedModels(make_spec())
    assert models.spec("test", "1.0.0") == make_spec()
    assert models.labels() == models.labels("test") == make_spec().labels


def test_it_is_described_as_primary_and_changed_by_nobody() -> None:
    async def scenario() -> None:
        models = FixedModels(make_spec())
        (status,) = await models.describe()
        assert (status.model, status.route_epoch, status.versions[0].phase) == ("test", 1, Phase.PRIMARY)
        with pytest.raises(ConflictError, match="one model of its settings"):
            await models.put_version("test", "2.0.0", sha256="a" * 64)
        with pytest.raises(ConflictError, match="one model of its settings"):
            await models.put_routes("test", {"weights": {"1.0.0": 1.0}}, if_match=1)
        assert await models.describe() == (status,)

    asyncio.run(scenario())
