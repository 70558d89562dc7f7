"""How far a build is: TensorRT's phases as nested bars."""

import sys
import threading
from types import ModuleType
from typing import Any, TextIO

from tqdm import tqdm

from engines.cuda.bindings import subclassed


class BuildProgress:
    """TensorRT's progress monitor, called from several of its threads at once; nothing may be raised in its calls."""

    def __init__(self, file: TextIO | None) -> None:
        super().__init__()  # the C++ side, where this is mixed with it
        self._file = file
        self._lock = threading.Lock()
        self._bars: dict[str, tqdm[Any]] = {}
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the build at its next step."""
        self._is_cancelled = True

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        """Open a bar below its parent's."""
        with self._lock:
            name = phase_name if parent_phase in {None, ""} else f"  {phase_name}"
            self._bars[phase_name] = tqdm(
                total=num_steps, desc=name, file=self._file or sys.stderr, leave=not parent_phase
            )

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Move the phase's bar; False ends the build."""
        with self._lock:
            bar = self._bars.get(phase_name)
            if bar is not None:
                bar.update(max(step + 1 - bar.n, 0))
        return not self._is_cancelled

    def phase_finish(self, phase_name: str) -> None:
        """Close the phase's bar."""
        with self._lock:
            bar = self._bars.pop(phase_name, None)
            if bar is not None:
                bar.close()

    def close(self) -> None:
        """Close what a failed build left open."""
        with self._lock:
            while self._bars:
                self._bars.popitem()[1].close()


def new_progress(trt: ModuleType, *, file: TextIO | None = None) -> BuildProgress:
    """Return bars that TensorRT accepts as its monitor, on `file` or stderr. They must outlive the build."""
    return subclassed(BuildProgress, trt.IProgressMonitor)(file)
