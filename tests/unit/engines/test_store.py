"""What a request names is found among what lies there, and nothing else is."""

import shutil
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import ModelError, NotFoundError
from engines.store import ModelStore, StoredVersion, is_version
from tests.unit.engines.versions import write_json, write_version

TRAVERSALS = (
    "..",
    "../",
    "../tiny",
    "../../tiny",
    "tiny/../tiny",
    "tiny/..",
    "./tiny",
    "/tiny",
    "/etc/passwd",
    "..\\tiny",
    "%2e%2e%2ftiny",
)
"""Of the kind that Triton refuses since 25.09 (server pull requests 8400 and 8672)."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory):
    """A store, and beside it a version that must not be reached."""
    folder = tmp_path_factory.mktemp("disk")
    write_version(folder, model="outside")
    write_version(folder / "models", version="1.9.0")
    write_version(folder / "models", version="1.10.0")
    write_version(folder / "models", model="other")
    return folder / "models"


def test_versions_are_listed_by_number(root: Path) -> None:
    found = [(stored.model, stored.version) for stored in ModelStore(root).versions()]
    assert found == [("other", "1.0.0"), ("tiny", "1.9.0"), ("tiny", "1.10.0")]


def test_a_listed_version_is_found_and_read(root: Path) -> None:
    store = ModelStore(root)
    stored = store.find("tiny", "1.9.0")
    assert stored.path == root / "tiny" / "1.9.0" / "model.onnx"
    assert (store.read(stored).spec.name, store.read(stored).spec.version) == ("tiny", "1.9.0")


@pytest.mark.parametrize("name", [*TRAVERSALS, "", "TINY", "tiny\0", "tiny\n", "ti*", "absent", "t" * 65])
def test_a_name_that_is_not_listed_is_not_found(name: str, root: Path) -> None:
    store = ModelStore(root)
    for model, version in ((name, "1.9.0"), ("tiny", name), (name, name), (f"{name}/tiny", "1.9.0")):
        with pytest.raises(NotFoundError) as caught:
            store.find(model, version)
        assert not name or name not in caught.value.detail


def test_there_is_something_to_reach_for_who_joins_names_into_a_path(root: Path) -> None:
    """Positive control of the two tests around it."""
    reached = [name for name in TRAVERSALS if (root / name / "../outside/1.0.0/model.onnx").is_file()]
    assert (root / "tiny/../../outside/1.0.0/model.onnx").is_file()
    assert reached


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(["..", ".", "/", "\\", "tiny", "outside", "1.0.0", "1.9.0", "%2f", "\0", "~"]), min_size=2
    )
)
def test_no_name_made_of_such_pieces_leads_anywhere(pieces: list[str], root: Path) -> None:
    store = ModelStore(root)
    for model, version in (("".join(pieces), "1.9.0"), ("tiny", "".join(pieces)), ("/".join(pieces), "1.0.0")):
        with pytest.raises(NotFoundError):
            store.find(model, version)


@given(name=st.text(string.printable, max_size=20))
def test_whatever_is_found_was_listed(name: str, root: Path) -> None:
    store = ModelStore(root)
    found: list[StoredVersion] = []
    with suppress(NotFoundError):
        found = [store.find(name, "1.9.0")]
    assert set(found) <= set(store.versions())


@pytest.mark.parametrize(
    "name", ["1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.0.0", "latest", "plans", "1.0.9999999999"]
)
def test_other_folders_are_no_versions(name: str, tmp_path: Path) -> None:
    write_version(tmp_path, version=name)
    assert ModelStore(tmp_path).versions() == ()
    assert not is_version(name)


@pytest.mark.parametrize("name", ["Tiny", ".tiny", "-tiny", "ti ny", "t" * 65])
def test_other_folders_are_no_models(name: str, tmp_path: Path) -> None:
    write_version(tmp_path, model=name)
    assert ModelStore(tmp_path).versions() == ()


def test_links_are_not_followed_wherever_they_lead_and_the_log_says_so(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_version(tmp_path / "models")
    (tmp_path / "models" / "away").symlink_to(root.parent / "outside")
    (tmp_path / "models" / "tiny" / "2.0.0").symlink_to(root.parent / "outside" / "1.0.0")
    (tmp_path / "models" / "tiny" / "3.0.0").symlink_to(tmp_path / "models" / "tiny" / "1.0.0")
    assert [stored.version for stored in ModelStore(tmp_path / "models").versions()] == ["1.0.0"]
    assert sum("not followed" in message for message in caplog.messages) == 3


def test_a_folder_that_becomes_a_link_after_it_was_found_is_refused(root: Path, tmp_path: Path) -> None:
    folder = write_version(tmp_path / "models")
    store = ModelStore(tmp_path / "models")
    stored = store.find("tiny", "1.0.0")
    shutil.rmtree(folder)
    folder.symlink_to(root / "other" / "1.0.0")
    with pytest.raises(ModelError, match=r"tiny 1\.0\.0 cannot be read") as caught:
        store.read(stored)
    assert str(tmp_path) not in caught.value.detail


def test_the_store_itself_may_be_a_link_and_grows_while_it_is_open(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(root)
    assert len(ModelStore(tmp_path / "current").versions()) == 3
    store = ModelStore(tmp_path / "new")
    (tmp_path / "new").mkdir()
    assert store.versions() == ()
    write_version(tmp_path / "new")
    assert len(store.versions()) == 1


def test_a_store_that_is_not_there_is_an_error_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="folder of models") as caught:
        ModelStore(tmp_path / "absent").versions()
    assert str(tmp_path) not in caught.value.detail


def test_a_card_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_version(tmp_path)
    write_json(folder / "card.json", {"name": "other"})
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError, match="another model or version"):
        store.read(store.find("tiny", "1.0.0"))
