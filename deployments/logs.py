"""Our log lines as Serve writes its own: as JSON, with deployment, replica and request, into the replica's file."""

import logging
from typing import Final

_OURS: Final = logging.getLogger("sightline")
_SERVES: Final = logging.getLogger("ray.serve")


class _ToServe(logging.Handler):
    """Gives each line to Serve's logger, whose handlers Serve makes anew whenever the configuration changes."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= _SERVES.getEffectiveLevel():
            _SERVES.handle(record)


def write_as_serve_does() -> None:
    """From now on, in this process; twice is once.

    Serve sets up no logger but its own: ours would write warnings as bare text to the worker's standard error, and the
    rest nowhere.
    """
    if not any(isinstance(handler, _ToServe) for handler in _OURS.handlers):
        _OURS.addHandler(_ToServe())
    _OURS.propagate = False
    _OURS.setLevel(logging.INFO)
