"""Machines made of namespaces: they reach each other, lose each other, and lose their power."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from load_tests.machines import Machine, machines, parted

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None,
        reason="needs root, iproute2 and util-linux",
    ),
]
LISTEN = "import socket; s = socket.create_server(('', 9000)); print(1, flush=True)\nwhile True: s.accept()[0].close()"


def reaches(one: Machine, other: Machine, folder: Path) -> bool:
    code = f"import socket; socket.create_connection(('{other.ip}', 9000), timeout=1)"
    with (folder / "log").open("ab") as log:
        return one.run([sys.executable, "-c", code], environment=os.environ, log=log).wait(timeout=20) == 0


def test_machines_are_cut_from_each_other_and_lose_their_power(tmp_path: Path) -> None:
    with machines(["one", "two", "three"], folder=tmp_path) as found:
        one, two, three = found.values()
        with (tmp_path / "log").open("ab") as log:
            one.run([sys.executable, "-c", LISTEN], environment=os.environ, log=log)
        while not reaches(two, one, tmp_path):
            pass
        with parted(one, two):
            assert not reaches(two, one, tmp_path)
            assert reaches(three, one, tmp_path)
        assert reaches(two, one, tmp_path)
        assert any(LISTEN[:20] in words for words in one.pids().values())
        one.power_off()
        assert not reaches(two, one, tmp_path)
        assert one.pids() == {}
    assert not list(Path("/sys/class/net").glob(f"sl{os.getpid()}*"))
