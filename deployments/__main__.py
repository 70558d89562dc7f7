"""`python -m deployments`: the service on this machine until Ctrl-C."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

import yaml

from app.settings import ROOT
from deployments.local_cluster import LocalService, StartError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments", description=__doc__)
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "serve_config.yaml", help="a Serve config file")
    parser.add_argument("--port", type=int, help="where to listen, 0 for a free one; default: the file's")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Exit code 0 after Ctrl-C, 1 when the service did not come up or went down by itself."""
    arguments = _arguments()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    if arguments.port is not None:
        config.setdefault("http_options", {})["port"] = arguments.port
        config.setdefault("grpc_options", {})["port"] = 0  # a free one, as there may be another service on this machine
    signal.signal(signal.SIGTERM, _interrupt)
    service = LocalService(config, say=lambda words: print(f"sightline: {words} …", file=sys.stderr, flush=True))
    try:
        service.start()
        print(
            f"Sightline answers at {service.url} (try {service.url}/docs), gRPC at {service.grpc_address}; "
            "Ctrl-C stops it.",
            flush=True,
        )
        service.wait()
    except KeyboardInterrupt:
        print("sightline: stopping …", file=sys.stderr, flush=True)
        return 0
    except StartError as error:
        print(f"sightline: {error}", file=sys.stderr)
        return 1
    finally:
        service.stop()
    print("sightline: Ray or Serve ended by itself", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
