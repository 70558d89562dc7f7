"""`sightline stream` against a running service: data on stdout, words on stderr, exit codes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from app.__main__ import main
from app.client import Sightline
from app.settings import ROOT
from tests.api.served import served_apart
from tests.unit.media.videos import video

FRAMES = 12


@pytest.fixture
def url() -> Iterator[str]:
    with served_apart() as url:
        yield url


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    file.write_bytes(video(n=FRAMES))
    return file


def test_a_stream_is_opened_listed_watched_and_closed(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "add", "push", "--label", "gate", "--url", url]) == 0
    stream_id = capfd.readouterr().out.strip()
    assert main(["stream", "list", "--url", url]) == 0
    line = capfd.readouterr().out
    assert stream_id in line
    assert "gate" in line
    with Sightline(url) as client:
        other = client.attach(stream_id)
        other.send_all([b"x"] * 3)
        other.drain()
        watching = subprocess.Popen(
            [sys.executable, "-m", "app", "stream", "watch", stream_id, "--since", "0", "--json", "--url", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        assert [json.loads(watching.stdout.readline())["seq"] for _ in range(2)] == [1, 2]
    assert main(["stream", "rm", stream_id, "--url", url]) == 0
    closed = capfd.readouterr()
    summary = json.loads(closed.out)
    assert (summary["captured"], summary["answered"]) == (3, 3)
    assert "3 captured, 3 answered" in closed.err
    assert json.loads(watching.stdout.read()) == summary
    assert watching.wait(timeout=20) == 0
    watching.stdout.close()
    assert main(["stream", "list", "--json", "--url", url]) == 0
    assert capfd.readouterr().out == ""


def test_a_file_is_sent_frame_by_frame_with_its_true_times(
    url: str, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", "add", "--push", str(clip), "--jsonl", "-", "--url", url]) == 0
    told = capfd.readouterr()
    *events, summary = [json.loads(line) for line in told.out.splitlines()]
    ends = [event for event in events if event["schema"] == "sightline.v1.FrameResult"]
    assert [end["seq"] for end in ends] == list(range(FRAMES))
    seconds = [float(end["captured_at"].rstrip("Z").rpartition(":")[2]) for end in ends]
    assert [round((b - a) % 60, 3) for a, b in pairwise(seconds)] == [0.04] * (FRAMES - 1)
    assert (summary["schema"], summary["answered"]) == ("sightline.v1.Summary", FRAMES)
    assert f"{FRAMES}/{FRAMES}" in told.err
    assert f"{FRAMES} captured, {FRAMES} answered" in told.err


def test_in_real_time_a_file_takes_as_long_as_it_plays_and_lines_may_go_to_a_file(
    url: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "events.jsonl"
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"lines": [{"name": "gate", "start": [0, 0.5], "end": [1, 0.5]}]}), encoding="utf-8")
    begun_s = time.monotonic()
    arguments = ["--realtime", "--jsonl", str(out), "--spec", str(spec), "--label", "x", "--url", url]
    assert main(["stream", "add", "--push", str(clip), *arguments]) == 0
    assert time.monotonic() - begun_s >= (FRAMES - 1) * 0.04
    assert len(out.read_text(encoding="utf-8").splitlines()) > FRAMES
    assert capfd.readouterr().out == ""


def test_a_file_that_breaks_off_is_1_and_says_so(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = video("matroska", n=60, has_noise=True)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    assert main(["stream", "add", "--push", str(cut), "--url", url]) == 1
    words = capfd.readouterr().err
    assert "broke off" in words
    assert "captured" in words


def test_people_read_words(url: str) -> None:
    with Sightline(url) as client:
        stream = client.open()
        stream.send_all([b"x", b"bad"])
        stream.drain()
        watching = subprocess.Popen(
            [sys.executable, "-m", "app", "stream", "watch", stream.stream_id, "--since", "-1", "--url", url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        stream.finish()
    rest, _ = watching.communicate(timeout=20)
    assert lines[0] == "streaming\n"
    assert lines[1].startswith("#0 ")
    assert lines[1].endswith(" 1 person\n")
    assert "error (undecodable): broken" in lines[2]
    assert rest == "closed: 2 captured, 1 answered, 1 in error (undecodable)\n"


def test_an_interrupted_file_closes_its_stream(url: str, tmp_path: Path) -> None:
    file = tmp_path / "long.mp4"
    file.write_bytes(video(n=200))
    line = [
        sys.executable,
        "-m",
        "app",
        "stream",
        "add",
        "--push",
        str(file),
        "--realtime",
        "--jsonl",
        "-",
        "--url",
        url,
    ]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as pushing:
        assert pushing.stdout is not None
        assert pushing.stdout.readline()
        pushing.send_signal(signal.SIGINT)
        assert pushing.wait(timeout=20) == 130
    with Sightline(url) as client:
        assert client.streams() == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["add"],
        ["add", "push", "--push", "x.mp4"],
        ["add", "push", "--realtime"],
        ["add", "push", "--jsonl", "-"],
        ["add", "push", "--mode", "sometimes"],
        ["rm"],
        ["watch", "x", "--since", "-2"],
        ["watch", "x", "--since", "then"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["stream", *arguments])
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert "usage" in told.err
    assert told.out == ""


def test_what_fails_is_1_with_a_sentence(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.json"
    text.write_text("no JSON", encoding="utf-8")
    for arguments in (
        ["rm", "0" * 32],
        ["watch", "0" * 32],
        ["add", "push", "--spec", str(text)],
        ["add", "push", "--spec", str(tmp_path / "missing.json")],
        ["add", "push", "--mode", "target_fps"],
        ["add", "--push", str(text)],
        ["add", "--push", str(tmp_path / "missing.mp4")],
    ):
        assert main(["stream", *arguments, "--url", url]) == 1, arguments
        told = capfd.readouterr()
        assert told.err.startswith("sightline: ")
        assert "Traceback" not in told.err
        assert told.out == ""
    assert main(["stream", "list", "--url", "http://127.0.0.1:9"]) == 1
    assert capfd.readouterr().err.startswith("sightline: http://127.0.0.1:9: ")
