"""Machines on this one: each has its own network address and processes, and can lose its power or its way to another.

Network and process namespaces of Linux, a bridge between them with this machine on it; needs root and iproute2.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

SUBNET: Final = "10.199.77"
OWN_IP: Final = f"{SUBNET}.254"
"""This machine, as those see it."""
_NOWHERE: Final = "02:00:00:00:00:01"
"""A hardware address that nobody has: what is sent there is lost on the way, as behind a broken switch."""


class Machine:
    """One of them. Its processes see its own `/proc`, and `folder` of this machine as `mounted`."""

    def __init__(self, name: str, ip: str, *, folder: Path, mounted: Path) -> None:
        self.name, self.ip = name, ip
        self._namespace = f"sl{os.getpid()}{name}"
        self._folder, self._mounted = folder, mounted
        self._init: subprocess.Popen[bytes] | None = None
        self._own: list[subprocess.Popen[bytes]] = []

    @property
    def link(self) -> str:
        """Its plug on the bridge."""
        return f"{self._namespace[:13]}p"

    def attach(self, bridge: str) -> None:
        """Give it a network."""
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", self.link, "master", bridge, "up")
        for words in (f"addr add {self.ip}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-n", self._namespace, *words.split())

    def detach(self) -> None:
        """Take the network away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self.link)  # with its other end: the kernel itself is in no hurry
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self._namespace)

    def power_on(self) -> None:
        """Have a first process, which all others of it depend on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mounted.mkdir(parents=True, exist_ok=True)
        inside = f"mount --bind {self._folder} {self._mounted} && exec sleep infinity"
        unshared = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside]
        self._init = subprocess.Popen(["ip", "netns", "exec", self._namespace, *unshared])
        until_s = time.monotonic() + 10
        while not self._is_mounted():
            if time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} does not start")
            time.sleep(0.02)

    def _is_mounted(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return str(self._mounted) in Path(f"/proc/{self._first()}/mounts").read_text(encoding="utf-8")
        return False

    def _first(self) -> int:
        """The process that is number 1 inside."""
        if self._init is None:
            raise ValueError(f"{self.name} is off")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text(encoding="ascii")
        return int(children.partition(" ")[0])

    def run(self, command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program there."""
        entered = ["nsenter", f"--target={self._first()}", "--pid", "--mount", "--net", f"--wd={Path.cwd()}"]
        program = subprocess.Popen(
            [*entered, *command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self._own.append(program)
        return program

    def pids(self) -> dict[int, str]:
        """Its processes as this machine numbers them, and their command lines."""
        with contextlib.suppress(OSError, ValueError):
            inside = (Path(f"/proc/{self._first()}") / "ns" / "pid").readlink()
            return {pid: words for pid, words in _processes() if _is_in(pid, inside)}
        return {}

    def kill(self, pattern: str, *, most: int = 1) -> int:
        """`kill -9` processes whose command line the pattern is found in; how many there were."""
        found = [pid for pid, words in self.pids().items() if re.search(pattern, words)][:most]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def power_off(self) -> None:
        """All processes end at once, without a word."""
        if self._init is not None:
            with contextlib.suppress(OSError, ValueError):
                os.kill(self._first(), signal.SIGKILL)
            self._init.kill()
            self._init.wait()
        for program in self._own:
            program.kill()
            program.wait()
        self._own.clear()

    def lose(self, other: "Machine") -> None:
        """Nothing that it sends to the other arrives from now on."""
        _ip("-n", self._namespace, *f"neigh replace {other.ip} lladdr {_NOWHERE} dev eth0 nud permanent".split())

    def find(self, other: "Machine") -> None:
        """The way is there again."""
        _ip("-n", self._namespace, *f"neigh del {other.ip} dev eth0".split())


@contextlib.contextmanager
def machines(names: Sequence[str], *, folder: Path) -> Iterator[dict[str, Machine]]:
    """Machines that are on, by name, on one bridge; this machine is `OWN_IP` there. All are gone at the end."""
    _sweep()
    bridge = f"sl{os.getpid()}b"
    found = {
        name: Machine(name, f"{SUBNET}.{number}", folder=folder / name, mounted=folder / "own")
        for number, name in enumerate(names, start=1)
    }
    _ip("link", "add", bridge, "type", "bridge")
    try:
        _ip("addr", "add", f"{OWN_IP}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for machine in found.values():
            machine.attach(bridge)
            machine.power_on()
        yield found
    finally:
        for machine in found.values():
            machine.power_off()
            machine.detach()
        _ip("link", "del", bridge)


def _sweep() -> None:
    """Take down what is left of runs that were killed: their bridge has the addresses that ours needs."""
    kept = {entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    for name, pid in re.findall(r"^(sl(\d+)\S*)", _ip("netns", "list"), re.MULTILINE):
        if pid not in kept:
            for inside in _ip("netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(inside), signal.SIGKILL)
            _ip("netns", "del", name)
    for entry in Path("/sys/class/net").iterdir():
        left = re.fullmatch(r"sl(\d+)\w*[bp]", entry.name)
        if left and left[1] not in kept:
            with contextlib.suppress(subprocess.CalledProcessError):  # with its other end it may be gone already
                _ip("link", "del", entry.name)


@contextlib.contextmanager
def parted(one: Machine, other: Machine) -> Iterator[None]:
    """Neither hears of the other meanwhile; third ones hear both."""
    one.lose(other)
    other.lose(one)
    try:
        yield
    finally:
        one.find(other)
        other.find(one)


def _processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(entry.name), words.strip()


def _is_in(pid: int, namespace: Path) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").readlink() == namespace
    return False


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
