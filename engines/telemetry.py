"""Keeps the runtimes from reporting home; to be called before any of them is imported."""

import os
import sys


def switch_off() -> None:
    """Switch off what ONNX Runtime and OpenVINO send to their makers and write into the user's folders.

    ONNX Runtime, from 1.29 on Linux too, sends model names and timings as soon as it is imported and keeps a database
    under `~/.cache/Microsoft`; `disable_telemetry_events()` comes too late for that. OpenVINO imports its model
    converter, which reports the import to Google Analytics; nothing here needs the converter.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
