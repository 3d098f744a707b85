"""Runs the tests of what is under deploy/: `python3 tests-deploy/main.py [-k PATTERN]`, or `make test-deploy`.

The runner is that of tests-real, Debian comes as in tests-compose; only what must be there differs.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "tests-real"), str(HERE.parent / "tests-compose")]

import docker  # noqa: E402
import rig  # noqa: E402
import run  # noqa: E402

PROGRAMS = {
    "busybox": "busybox-static",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def missing():
    os.environ["PATH"] = docker.PATH
    yield from run.lacking(PROGRAMS)
    for program in ("load-balancer", "backend"):
        if not (rig.PROGRAMS / program).exists():
            yield f"{rig.PROGRAMS / program} is missing: cargo build --package {program}"
    if os.geteuid() != 0:
        yield "a machine needs root: run this as root"


if __name__ == "__main__":
    sys.exit(run.main(HERE, missing, "Tests of the startup script and the systemd units on machines of their own."))
