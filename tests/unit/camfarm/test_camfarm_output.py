"""What the farm writes: MP4, JPEGs, truth lines, and its command line."""

import json
import re
from pathlib import Path

import av
import pytest

from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.camfarm.__main__ import main
from load_tests.camfarm.video import write_mp4

README = Path(__file__).parents[3] / "load_tests" / "camfarm" / "README.md"


def presentation_times_s(path: Path) -> list[float]:
    """When each frame of a video is shown."""
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0) if frame.time is not None]


@pytest.mark.parametrize("fps", [10.0, 25.0, 29.97])
def test_video_has_every_frame_at_its_time(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "clip.mp4"
    assert write_mp4(path, render(Scene(seed=1), Camera(width_px=320, height_px=180, fps=fps), frames=12), fps) == 12
    assert presentation_times_s(path) == pytest.approx([at / fps for at in range(12)], abs=1e-3)


def test_video_has_the_camera_s_size_and_codec(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, render(Scene(seed=1), Camera(width_px=480, height_px=270, fps=5.0), frames=2), 5.0)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height, context.name, context.pix_fmt) == (480, 270, "h264", "yuv420p")


def test_video_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(tmp_path / "clip.mp4", [], 10.0)


def test_lower_jpeg_quality_is_smaller() -> None:
    rgb = next(render(Scene(seed=1), Camera(width_px=320, height_px=180, fps=5.0), frames=1)).rgb
    assert len(encode_jpeg(rgb, quality=60)) < len(encode_jpeg(rgb, quality=95))
    assert encode_jpeg(rgb)[:3] == b"\xff\xd8\xff"


def test_command_line_writes_video_jpegs_and_truth(tmp_path: Path) -> None:
    arguments = ["--seed", "7", "--size", "320x180", "--fps", "5", "--seconds", "2", "--stream", "4"]
    outputs = ["--out", f"{tmp_path}/clip.mp4", "--jpegs", f"{tmp_path}/jpegs", "--truth", f"{tmp_path}/truth.jsonl"]
    assert main([*arguments, *outputs]) == 0
    assert len(presentation_times_s(tmp_path / "clip.mp4")) == 10
    assert [path.name for path in sorted((tmp_path / "jpegs").iterdir())] == [f"{seq:06d}.jpg" for seq in range(10)]
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(line["stream"], line["seq"], line["captured_at_s"]) for line in lines] == [
        (4, at, at / 5) for at in range(10)
    ]
    assert {"identity", "label", "xyxy", "visibility", "in_frame"} == set(lines[0]["objects"][0])


def test_command_line_writes_truth_alone(tmp_path: Path) -> None:
    assert main(["--size", "320x180", "--seconds", "0.1", "--truth", f"{tmp_path}/truth.jsonl"]) == 0
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == 3


def test_command_line_without_output_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["640", "641x360", "0x0", "axb", "-2x4", "120x90"])
def test_command_line_refuses_sizes_it_cannot_draw(size: str) -> None:
    with pytest.raises(SystemExit):
        main([f"--size={size}", "--out", "clip.mp4"])


def test_readme_example_runs() -> None:
    example = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example) == 1
    exec(compile(example[0], str(README), "exec"), {})  # noqa: S102 - our own example
