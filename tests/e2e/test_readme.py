"""README's commands, run as they stand there, in an empty folder beside a running service."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from load_tests.service import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
ELSEWHERE = ("make ", "git ", "cd ")
"""What starts the service or fetches the project: the fixture has done it, `.ci/run` does the rest."""


def commands() -> list[tuple[str, str]]:
    """Every command of README with the output that stands under it."""
    blocks = CONSOLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part.strip()]
    split = [part.split("\n", 1) for part in parts]
    return [(command, shown) for command, shown in split if not command.startswith(ELSEWHERE)]


def keys(text: str) -> set[str]:
    """The keys of the first whole line of JSON in the text."""
    found = [line for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
    return set(json.loads(found[0])) if found else set()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_readme_has_commands_to_run() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize(("command", "shown"), commands(), ids=lambda text: text[:40])
def test_a_command_of_readme_does_what_it_says(staged: Service, workplace: Path, command: str, shown: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}  # the commands say: from the project's folder
    here = command.replace("localhost:8000", f"{staged.host}:{staged.port}")
    done = subprocess.run(here, shell=True, cwd=workplace, env=environment, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 0, done.stderr
    assert keys(shown) <= keys(done.stdout)
