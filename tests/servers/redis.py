"""Redis from Debian, without installing it: its packages are downloaded and unpacked into `build/debian-redis/`."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.mosquitto import free_port

ROOT = Path(__file__).parents[2] / "build" / "debian-redis"
PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
PROGRAM = ROOT / "usr" / "bin" / "redis-server"
START_S = 10.0


class NoRedisError(Exception):
    """Redis cannot be had here; the words say why."""


def install() -> None:
    """Fetch it once. NoRedisError where there is no apt, or apt does not find it, or it does not run here."""
    if PROGRAM.exists():
        return
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise NoRedisError("Redis comes from Debian: apt-get and dpkg-deb are not on this machine")
    fresh = ROOT.with_name(f"{ROOT.name}-{os.getpid()}")
    packages = fresh / "packages"
    packages.mkdir(parents=True)
    try:
        _run([apt, "download", *PACKAGES], folder=packages)
        for package in sorted(packages.glob("*.deb")):
            _run([dpkg, "-x", str(package), str(fresh)], folder=packages)
        _run(
            [str(fresh / "usr" / "bin" / "redis-server"), "--version"], folder=packages, environment=_environment(fresh)
        )
        if not ROOT.exists():  # else another run of the tests was faster
            fresh.rename(ROOT)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The address of a running server on loopback, that writes down every change before it answers."""
    install()
    port = free_port()
    options = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes")
    command = [str(PROGRAM), *options, "--appendfsync", "always", "--logfile", str(folder / "redis.log")]
    with subprocess.Popen(command, env=_environment(ROOT)) as server:
        try:
            _await(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _await(port: int) -> None:
    until_s = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)  # nothing tells that a port is open but trying it
        else:
            return


def _environment(root: Path) -> dict[str, str]:
    return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, root.glob("usr/lib/*-linux-gnu*")))}


def _run(command: list[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise NoRedisError(f"`{command[0].rsplit('/', 1)[-1]}` does not get Redis; is there a package list?")
