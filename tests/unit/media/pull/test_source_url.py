import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidParameterError
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import SourceUrl, open_file, source_of

CAMERAS = PullParameters(allowed_hosts=("cam1", "cam2:8554", "*.yard.example", "[::1]"))


@pytest.mark.parametrize(
    ("url", "port", "path"),
    [
        ("rtsp://cam1/street?channel=1", 554, "/street?channel=1"),
        ("rtsps://cam1", 322, "/"),
        ("rtsp://cam1:554/a", 554, "/a"),
        ("rtsp://cam2:8554/a", 8554, "/a"),
        ("rtsp://north.yard.example/a", 554, "/a"),
        ("rtsp://[::1]/a", 554, "/a"),
        ("http://cam1/mjpeg", 80, "/mjpeg"),
        ("https://CAM1./live.m3u8", 443, "/live.m3u8"),
    ],
)
def test_a_listed_source_is_taken_apart(url: str, port: int, path: str) -> None:
    source = source_of(url, CAMERAS)
    assert (source.port, source.path) == (port, path)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://cam3/a",
        "rtsp://cam1:8554/a",
        "rtsp://cam2/a",
        "http://cam2:8555/a",
        "rtsp://yard.example/a",
        "rtsp://cam1@elsewhere/a",
        "rtsp://cam1:99999/a",
        "rtsp:///a",
        "rtsp://cam1/a b",
        "rtsp://cam1/a\r\nX: y",
        "rtsp://0x7f.1/a",
        "rtsp://cam1\\@elsewhere/a",
        "rtmp://cam1/a",
        "concat:a|b",
        "cam1",
        "",
        "http://cam1/" + "a" * 3000,
    ],
)
def test_what_is_not_listed_or_malformed_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameterError):
        source_of(url, CAMERAS)


@pytest.mark.parametrize("url", ["rtsp://cam1/a", "file:/videos/a.mp4"])
def test_nothing_is_pulled_until_something_is_listed(url: str) -> None:
    with pytest.raises(InvalidParameterError, match="pull"):
        source_of(url, PullParameters())


def test_neither_what_is_shown_nor_the_repr_holds_a_secret() -> None:
    source = source_of("rtsp://admin:s%40cret@cam1/street?token=t0ken", CAMERAS)
    assert (source.user, source.password) == ("admin", "s%40cret")
    assert source.shown == str(source) == "rtsp://cam1/street"
    assert not any(word in f"{source!r} {source}" for word in ("admin", "cret"))


@given(st.text(max_size=60), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_a_refusal_shows_nothing_of_the_url(text: str, secret: str) -> None:
    url = f"rtsp://admin:{secret}Geheim{text}@elsewhere/a"
    with pytest.raises(InvalidParameterError) as refusal:
        source_of(url, CAMERAS)
    assert "Geheim" not in refusal.value.detail


def test_a_file_is_pulled_from_below_a_listed_folder_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "videos", tmp_path / "private"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a b.mp4").write_bytes(b"x")
    (inside / "link.mp4").symlink_to(outside / "a b.mp4")
    os.mkfifo(inside / "pipe.mp4")
    parameters = PullParameters(allowed_folders=(str(inside),))
    source = source_of(f"file:{inside}/a%20b.mp4", parameters)
    assert source == SourceUrl(scheme="file", path=f"{inside}/a b.mp4")
    os.close(open_file(source.path, parameters))
    refused = [
        f"file:{outside}/a%20b.mp4",
        f"file:{inside}/../private/a%20b.mp4",
        f"file:{inside}/link.mp4",
        f"file:{inside}/pipe.mp4",
        f"file:{inside}/missing.mp4",
        f"file:{inside}",
        f"file:{inside}-more/a.mp4",
        f"file:{inside}/%00",
        "file://elsewhere/a.mp4",
        "file:a.mp4",
        "file:/dev/zero",
    ]
    for url in refused:
        with pytest.raises(InvalidParameterError):
            source_of(url, parameters)


def test_outside_the_folders_a_file_that_exists_is_refused_like_one_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"x")
    parameters = PullParameters(allowed_folders=(str(tmp_path / "videos"),))
    answers = set()
    for name in ("there", "missing"):
        with pytest.raises(InvalidParameterError) as refusal:
            source_of(f"file:{tmp_path}/{name}.mp4", parameters)
        answers.add(refusal.value.detail)
    assert len(answers) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"allowed_folders": ("videos",)}, {"allowed_folders": ("/",)}, {"allowed_hosts": ("a b",)}, {"stall_s": 0.0}],
)
def test_parameters_that_cannot_be_meant_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"allowed|bound"):
        PullParameters(**wrong)  # type: ignore[arg-type]
