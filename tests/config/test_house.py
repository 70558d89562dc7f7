"""The house's own rules (HOUSE.md §1), as far as a machine can hold them."""

import re
import subprocess
from pathlib import Path

from app.settings import ROOT

MAX_FILE_LINES = 400
MAX_README_LINES = 30
MAX_MODEL_BYTES = 12_000_000
VAGUE = {"utils.py", "common.py", "misc.py", "helpers.py", "manager.py"}
REGISTRY = re.compile(r"\b(pypi|pythonhosted|npmjs|debian)\.(org|net|com)\b|--index-url|/w[o]rk/main|bash_[j]obs")


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def too_long(files: list[Path], most: int) -> list[str]:
    return [str(file) for file in files if len(file.read_text(encoding="utf-8").splitlines()) > most]


def test_no_file_is_longer_than_a_room() -> None:
    assert too_long(tracked("*.py"), MAX_FILE_LINES) == []


def test_no_file_has_a_vague_name() -> None:
    assert [file.name for file in tracked("*.py") if file.name in VAGUE] == []


def test_every_package_has_a_short_readme() -> None:
    packages = {file.parent for file in tracked("*.py") if "tests" not in file.parts and file.parent != ROOT}
    assert packages
    assert [str(package) for package in packages if not (package / "README.md").exists()] == []
    assert too_long([package / "README.md" for package in packages], MAX_README_LINES) == []


def test_nothing_names_a_registry_or_a_path_of_a_build_machine() -> None:
    text_files = [
        file for file in tracked("*") if file.suffix in {".py", ".md", ".toml", ".txt", ".in", ".yaml", ".json"}
    ]
    own = Path(__file__)
    named = [str(f) for f in text_files if f != own and REGISTRY.search(f.read_text(encoding="utf-8"))]
    assert named == []


def test_the_check_for_registries_can_fail() -> None:
    assert REGISTRY.search("see " + "npmjs" + ".org")
    assert REGISTRY.search("--index-url somewhere")
    assert REGISTRY.search("see /" + "work/main/app")


def test_the_serving_environment_holds_no_torch() -> None:
    pinned = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9-]+)==", pinned, flags=re.MULTILINE))
    assert {"ray", "openvino", "onnxruntime", "opencv-python-headless"} <= names
    assert not {"torch", "torchvision", "ultralytics"} & names


def test_every_requirement_is_pinned_with_a_hash() -> None:
    for file in tracked("requirements/*.txt"):
        blocks = re.split(r"\n(?=[a-z0-9])", file.read_text(encoding="utf-8"))
        assert all("==" in block and "--hash=sha256:" in block for block in blocks if block.strip()), file


def test_the_bundled_model_is_small() -> None:
    models = tracked("engines/models/*.onnx")
    assert [model.name for model in models if model.stat().st_size > MAX_MODEL_BYTES] == []
