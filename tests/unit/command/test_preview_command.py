import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from app.__main__ import main
from app.settings import ROOT
from tests.unit.media.pictures import ASSETS

GOLDEN = ASSETS / "preview" / "source.jpg"


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_one_line_makes_a_preview_without_loading_any_engine(tmp_path: Path) -> None:
    out = tmp_path / "new" / "small.jpg"
    program = (
        "import sys; from app.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('onnxruntime', 'openvino', 'ray', 'fastapi')))"
    )
    line = [sys.executable, "-c", program, "preview", str(GOLDEN), "--out", str(out)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert size_of(out) == (512, 288)


def test_size_and_quality_may_be_chosen(tmp_path: Path) -> None:
    out = tmp_path / "small.jpg"
    assert main(["preview", str(GOLDEN), "--out", str(out), "--max-side", "64", "--quality", "10"]) == 0
    assert size_of(out) == (64, 36)


def test_a_dash_is_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["preview", str(GOLDEN), "--out", "-"]) == 0
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("arguments", [[], ["--max-side", "15"], ["--max-side", "big"], ["--quality", "0"]])
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = [] if not arguments else ["--out", "x.jpg"]
    with pytest.raises(SystemExit) as caught:
        main(["preview", str(GOLDEN), *out, *arguments])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_what_is_no_picture_is_1_with_a_sentence_and_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.jpg"
    (tmp_path / "text.jpg").write_text("not a picture at all", encoding="utf-8")
    assert main(["preview", str(tmp_path / "text.jpg"), "--out", str(out)]) == 1
    assert main(["preview", str(tmp_path / "missing.jpg"), "--out", str(out)]) == 1
    words = capsys.readouterr().err
    assert "neither JPEG nor PNG nor WebP" in words
    assert "Traceback" not in words
    assert not out.exists()
