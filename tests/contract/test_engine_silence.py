"""Engines keep to themselves: no files in the user's folders, no sockets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.model import Head
from engines.tiny_yolo import tiny_yolo

ROOT = Path(__file__).parents[2]
WATCHED = """
import sys
from pathlib import Path

def watch(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(watch)
"""
OPEN_AND_RUN = """
from engines.opening import open_engine
open_engine(Path(sys.argv[1]), kind=sys.argv[2], streams=1, max_batch=2).close()
"""


def traces_of(code: str, home: Path, *arguments: str) -> list[str]:
    """The files that a fresh interpreter leaves in an empty home; native code's too."""
    home.mkdir()
    hidden = {"CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", WATCHED + code, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=60, capture_output=True)
    return [str(path.relative_to(home)) for path in home.rglob("*")]


@pytest.mark.parametrize("kind", ["reference", "onnxruntime", "openvino", "auto"])
def test_an_engine_leaves_no_trace(kind: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_yolo(Head.YOLOV8).SerializeToString())
    assert traces_of(OPEN_AND_RUN, tmp_path / "home", str(model), kind) == []


def test_a_file_and_a_connection_would_be_noticed(tmp_path: Path) -> None:
    """Positive control. Sockets of native code are not seen here; their databases and ids on disk are."""
    assert traces_of("Path.home().joinpath('id').touch()", tmp_path / "home") == ["id"]
    with pytest.raises(subprocess.CalledProcessError):
        traces_of("import socket; socket.create_connection(('127.0.0.1', 1))", tmp_path / "other")
