"""Our environment really keeps glibc from giving pages back; without it the same work needs fresh ones."""

from pathlib import Path

import pytest

from app.vision.example import example_jpeg
from load_tests.fresh_pages import turn


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "example.jpg").write_bytes(example_jpeg(width_px=1920, height_px=1080))
    return folder


def test_a_micro_batch_finds_the_pages_of_the_one_before_it(pictures: Path) -> None:
    assert turn("images", pictures, is_tuned=True)["pages"] < 60


def test_without_the_environment_every_batch_gets_fresh_pages(pictures: Path) -> None:
    assert turn("images", pictures, is_tuned=False)["pages"] > 60
