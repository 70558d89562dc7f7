"""`sightline`: the command line; `detect` and `track` run the whole path in this process, the others ask a service."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from app import __version__
from app.command import (
    autoscale_arguments,
    bench_arguments,
    detect,
    fault_arguments,
    models_arguments,
    preview,
    stream_arguments,
    track,
)
from app.core.errors import SightlineError
from app.media.preview import MAX_SIDE_PX, QUALITIES, QUALITY, SIDES_PX
from app.settings import Settings
from engines import command as engine_command
from engines.opening import open_engine
from kuberay import command as cluster_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline", description="Detections and tracks from images and videos.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    stills = commands.add_parser("detect", help="objects in images")
    stills.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    stills.add_argument("--json", action="store_true", help="one FrameResult a line instead of words")
    stills.add_argument("--save", type=Path, metavar="OUT", help="annotated picture, or a folder for several")
    video = commands.add_parser("track", help="tracked objects in a video file")
    video.add_argument("video", type=Path, metavar="VIDEO")
    video.add_argument("--save", type=Path, metavar="OUT.mp4", help="annotated video")
    video.add_argument(
        "--jsonl", type=Path, metavar="OUT", help="one FrameResult a line, last the Summary; - is stdout"
    )
    for command in (stills, video):
        command.add_argument("--model", type=Path, help="an ONNX file; default: the bundled street model")
        command.add_argument("--engine", choices=("auto", "reference", "onnxruntime", "openvino"), default="auto")
        command.add_argument("--conf", type=_ratio, help="lowest score, in [0, 1]")
    small = commands.add_parser("preview", help="a small upright JPEG of an image")
    small.add_argument("image", type=Path, metavar="IMAGE")
    small.add_argument("--out", type=Path, metavar="OUT.jpg", required=True, help="- is stdout")
    small.add_argument("--max-side", type=_whole(SIDES_PX), default=MAX_SIDE_PX, help="pixels")
    small.add_argument("--quality", type=_whole(QUALITIES), default=QUALITY, help="of the JPEG")
    live = commands.add_parser("stream", help="live streams of a running service")
    stream_arguments.add_arguments(live)
    models_arguments.add_arguments(commands.add_parser("models", help="the versions and routes of a running service"))
    engine_command.add_arguments(commands.add_parser("engine", help="plans for this GPU, what a model is, timings"))
    cluster_command.add_arguments(commands.add_parser("cluster", help="the service on Kubernetes: manifests, checked"))
    planted = commands.add_parser("faults", help="faults planted in a running service, to rehearse")
    fault_arguments.add_arguments(planted)
    bench_arguments.add_arguments(commands.add_parser("bench", help="what a running service holds, from outside"))
    scaling = commands.add_parser("autoscale", help="the scaling policy on a recorded load, and in a running service")
    autoscale_arguments.add_arguments(scaling)
    return parser


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must lie in [0, 1]")
    return value


def _whole(allowed: range) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value not in allowed:
            raise argparse.ArgumentTypeError(f"must lie in [{allowed[0]}, {allowed[-1]}]")
        return value

    return number


def _settings(arguments: argparse.Namespace) -> Settings:
    model: dict[str, object] = {"engine": arguments.engine}
    if arguments.model is not None:
        model["path"] = arguments.model.resolve()
    return Settings.model_validate({"model": model})


def _stream(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if (wrong := stream_arguments.wrong_usage(arguments)) is not None:
        parser.error(wrong)
    from app.command import stream  # the client, which nothing else here needs

    return asyncio.run(stream.run(arguments))


def _models(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if (wrong := models_arguments.wrong_usage(arguments)) is not None:
        parser.error(wrong)
    from app.command import models

    return asyncio.run(models.run(arguments))


def _faults(arguments: argparse.Namespace, _parser: argparse.ArgumentParser) -> int:
    from app.command import faults

    return asyncio.run(faults.run(arguments))


def _autoscale(arguments: argparse.Namespace, _parser: argparse.ArgumentParser) -> int:
    from app.command import autoscale

    return asyncio.run(autoscale.run(arguments))


def _bench(arguments: argparse.Namespace, _parser: argparse.ArgumentParser) -> int:
    from app.command import bench

    return asyncio.run(bench.run(arguments))


def _engine(arguments: argparse.Namespace, _parser: argparse.ArgumentParser) -> int:
    return engine_command.run(arguments)


def _cluster(arguments: argparse.Namespace, _parser: argparse.ArgumentParser) -> int:
    return cluster_command.run(arguments)


_HANDED_ON: Mapping[str, Callable[[argparse.Namespace, argparse.ArgumentParser], int]] = {
    "stream": _stream,
    "models": _models,
    "faults": _faults,
    "bench": _bench,
    "autoscale": _autoscale,
    "engine": _engine,
    "cluster": _cluster,
}
"""Commands that neither detect nor track in this process."""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 for failure, 2 for wrong usage; data on stdout, words on stderr."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if (handed_on := _HANDED_ON.get(arguments.command)) is not None:
            return handed_on(arguments, parser)
        if arguments.command == "preview":
            return preview.run(
                arguments.image,
                out=arguments.out,
                max_side_px=arguments.max_side,
                quality=arguments.quality,
                limits=Settings().decoder.limits,
            )
        settings = _settings(arguments)
        model = settings.model
        engine = open_engine(model.file, kind=model.runtime, streams=model.streams, max_batch=model.max_batch)
        if arguments.command == "detect":
            return asyncio.run(
                detect.run(
                    settings,
                    engine,
                    images=arguments.images,
                    conf=arguments.conf,
                    as_json=arguments.json,
                    save=arguments.save,
                )
            )
        return asyncio.run(
            track.run(
                settings,
                engine,
                video=arguments.video,
                conf=arguments.conf,
                save=arguments.save,
                jsonl=arguments.jsonl,
            )
        )
    except (SightlineError, OSError) as error:
        print(f"sightline: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
