"""`sightline autoscale replay`: decisions of a trace, with other numbers, as a picture."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app.__main__ import main
from app.settings import ROOT


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """One replica's load: 20 frames/s, then 240 for ten minutes, then 20 again."""
    rows = [(at_s, 240 if 300 <= at_s < 900 else 20) for at_s in range(0, 1800, 5)]
    file = tmp_path / "trace.csv"
    file.write_text("time_s,qps\n" + "".join(f"{at_s},{qps}\n" for at_s, qps in rows), encoding="utf-8")
    return file


def test_a_replay_prints_what_changes_and_a_summary(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoscale", "replay", str(trace)]) == 0
    told = capsys.readouterr()
    changes = told.out.splitlines()
    assert len(changes) == 2
    assert changes[0].startswith("     300.0 s  score  1.920     1 -> 3")
    assert changes[1].startswith("     905.0 s  score")
    assert "3 -> 1" in changes[1]
    assert told.err == "360 decisions, 1 out, 1 in, at most 3 replicas, 0.835 replica-hours\n"


def test_other_numbers_lead_to_other_decisions(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoscale", "replay", str(trace), "--set", "target_qps=100", "--all"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 360
    assert "0 out, 0 in" in told.err
    assert main(["autoscale", "replay", str(trace), "--max", "2", "--json"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert max(one["replicas"] for one in documents) == 2
    assert {one["verdict"] for one in documents} == {"hold", "out", "in"}


def test_a_dry_run_decides_about_the_replicas_that_there_were(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The load stays on the one that is recorded, so that out is asked for again after each cool-down."""
    assert main(["autoscale", "replay", str(trace), "--dry-run"]) == 0
    outs = [line for line in capsys.readouterr().out.splitlines() if " 1 -> 3 " in line]
    assert len(outs) == 60


def test_a_replay_is_drawn(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "plot.svg"
    assert main(["autoscale", "replay", str(trace), "--plot", str(picture)]) == 0
    root = ET.fromstring(picture.read_text("utf-8"))  # noqa: S314  our own
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [360, 360, 719]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "target=3"], "there is no target"),
        (["--set", "in_score=2"], "in this order"),
        (["--min", "9"], "min_replicas"),
    ],
)
def test_numbers_that_are_wrong_are_refused_in_words(
    trace: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["autoscale", "replay", str(trace), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_trace_without_rows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("time_s,qps\n", encoding="utf-8")
    assert main(["autoscale", "replay", str(tmp_path / "empty.csv")]) == 1
    assert "empty" in capsys.readouterr().err


def test_the_command_loads_no_engine(trace: Path) -> None:
    program = (
        "import sys; from app.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('onnxruntime', 'openvino', 'ray', 'fastapi')))"
    )
    line = [sys.executable, "-c", program, "autoscale", "replay", str(trace)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
