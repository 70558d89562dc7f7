"""promtool from Debian's Prometheus, without installing it: the package is unpacked into `build/debian-prometheus/`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "build" / "debian-prometheus"
PROGRAM = ROOT / "usr" / "bin" / "promtool"


def promtool() -> str:
    """The program, the machine's own or fetched once; the test skips, with the reason, where it cannot be had."""
    installed = shutil.which("promtool")
    if installed is not None:
        return installed
    if not PROGRAM.exists():
        _fetch()
    return str(PROGRAM)


def _fetch() -> None:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        pytest.skip("promtool comes from Debian: apt-get and dpkg-deb are not on this machine")
    fresh = ROOT.with_name(f"{ROOT.name}-{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        done = subprocess.run([apt, "download", "prometheus"], cwd=fresh, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"apt does not find prometheus: {done.stderr.strip()[-200:]}")
        (package,) = fresh.glob("*.deb")
        subprocess.run([dpkg, "-x", str(package), str(fresh)], check=True)
        package.unlink()
        if not ROOT.exists():  # else another run of the tests was faster
            fresh.rename(ROOT)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
