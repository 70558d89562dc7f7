"""Mosquitto from Debian, without installing it: its packages are downloaded and unpacked into `build/debian/`."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2] / "build" / "debian"
PACKAGES = ("mosquitto", "libmosquitto1", "libcjson1", "libdlt2", "libwrap0")
PROGRAM = ROOT / "usr" / "sbin" / "mosquitto"
START_S = 10.0


class NoMosquittoError(Exception):
    """Mosquitto cannot be had here; the words say why."""


def install() -> None:
    """Fetch it once. NoMosquittoError where there is no apt, or apt does not find it."""
    if PROGRAM.exists():
        return
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise NoMosquittoError("Mosquitto comes from Debian: apt-get and dpkg-deb are not on this machine")
    fresh = ROOT.with_name(f"debian-{os.getpid()}")
    packages = fresh / "packages"
    packages.mkdir(parents=True)
    try:
        _run([apt, "download", *PACKAGES], folder=packages)
        for package in sorted(packages.glob("*.deb")):
            _run([dpkg, "-x", str(package), str(fresh)], folder=packages)
        if not ROOT.exists():  # else another run of the tests was faster
            fresh.rename(ROOT)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run(command: list[str], *, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise NoMosquittoError(f"`{command[0].rsplit('/', 1)[-1]}` does not get Mosquitto; is there a package list?")


class Mosquitto:
    """A broker on one port, which can be stopped and started again; sessions outlive that."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._file = folder / "mosquitto.conf"
        lines = (
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            "log_dest none",
            "user root",  # started by root it stays so, and may write here; started by anybody else it ignores this
            *(options or ("allow_anonymous true",)),
        )
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self) -> None:
        """Return once it accepts connections."""
        libraries = next(ROOT.glob("usr/lib/*-linux-gnu*"))
        environment = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
        self._process = subprocess.Popen([str(PROGRAM), "-c", str(self._file)], env=environment)
        until_s = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until_s:
                    self.stop()
                    raise
                time.sleep(0.02)  # nothing tells that a port is open but trying it
            else:
                return

    def stop(self) -> None:
        """Return once it has ended, its sessions saved."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=START_S)
            self._process = None


@contextmanager
def mosquitto(folder: Path, *, options: tuple[str, ...] = ()) -> Iterator[Mosquitto]:
    """A running broker; `options` are lines of its configuration."""
    install()
    broker = Mosquitto(folder, options=options)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
